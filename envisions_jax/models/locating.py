"""Where a model is: a path, a Hugging Face id or the default model's alias. Needs no JAX."""

from __future__ import annotations

import re
from pathlib import Path

from envisions_jax.models import default_model
from envisions_jax.models.config import ModelError

_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
_TEXT_FILES = ["*.json", "*.jinja", "tokenizer.model"]


def locate(name: str | Path) -> Path:
    """The folder or GGUF file on this machine, downloaded if it must be. Raises ModelError."""
    if name == default_model.ALIAS:
        return default_model.ensure()
    return on_this_machine(name) or _from_hub(str(name))


def on_this_machine(name: str | Path) -> Path | None:
    """The folder or GGUF file called `name`; None for what may be downloaded. Raises ModelError."""
    if name == default_model.ALIAS:
        return None
    if not isinstance(name, (str, Path)) or not str(name).strip() or name == Path():
        raise ModelError(f"no model at {name!r}: give a folder, a .gguf file, an id or an alias")
    path = Path(name).expanduser()
    if path.is_dir() and not (path / "config.json").is_file():
        raise ModelError(f"{path} has no config.json; it is not a model's folder")
    if path.is_dir() or (path.is_file() and path.suffix == ".gguf"):
        return path
    if path.is_file():
        raise ModelError(f"{path} is a file, but not a .gguf; give the folder that holds the model")
    if not _HUB_ID.fullmatch(str(name)) or str(name).startswith("."):
        raise ModelError(
            f"no model at {str(name)!r}: give an existing folder or .gguf file, a Hugging Face id "
            f"('owner/name'), or {default_model.ALIAS!r}"
        )
    return None


def _from_hub(name: str) -> Path:
    import huggingface_hub

    def fetch(patterns: list[str]) -> Path:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=patterns))

    try:
        folder = fetch([*_TEXT_FILES, "model*.safetensors"])
        if not any(folder.glob("model*.safetensors")):
            folder = fetch([*_TEXT_FILES, "pytorch_model*.bin"])
    except OSError as error:  # all of the hub client's errors are
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"cannot get {name!r} from the Hugging Face hub: {reason} Check the id, the network, and for "
            "gated models `huggingface-cli login`; or download it elsewhere and give its folder"
        ) from error
    return folder
