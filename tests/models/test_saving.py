"""A folder is written whole or not at all, and never over something else."""

from __future__ import annotations

from pathlib import Path

import pytest

from envisions_jax import Policy, testing
from envisions_jax.models import saving
from envisions_jax.models.config import ModelError


def test_a_model_is_replaced_by_the_next(tmp_path: Path, tiny_policy: Policy) -> None:
    tiny_policy.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / "left over").touch()
    testing.tiny_policy(seed=1, num_layers=1).save_pretrained(tmp_path / "m")
    assert Policy.from_pretrained(tmp_path / "m").config.num_layers == 1
    assert not (tmp_path / "m" / "left over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_an_empty_folder_is_filled(tmp_path: Path, tiny_policy: Policy) -> None:
    tiny_policy.save_pretrained(tmp_path)
    assert (tmp_path / "model.safetensors").exists()


def test_files_are_readable_by_whoever_may_read_the_folder(tmp_path: Path, tiny_policy: Policy) -> None:
    tiny_policy.save_pretrained(tmp_path / "m")
    assert len({path.stat().st_mode for path in (tmp_path / "m").iterdir()}) == 1


def test_something_else_is_not_overwritten(tmp_path: Path, tiny_policy: Policy) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ModelError, match="not a model's folder"):
        tiny_policy.save_pretrained(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_a_full_disk_leaves_the_old_model_and_nothing_else(
    tmp_path: Path, tiny_policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_policy.save_pretrained(tmp_path / "m")
    before = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(saving, "save_file", full)
    with pytest.raises(ModelError, match="No space left"):
        testing.tiny_policy(seed=1).save_pretrained(tmp_path / "m")
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]
