"""A folder is written whole or not at all, and never over something else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envisions_jax import Policy, testing
from envisions_jax.models import saving
from envisions_jax.models.config import ModelError


def test_a_model_is_replaced_by_the_next(tmp_path: Path, tiny_policy: Policy) -> None:
    tiny_policy.save_pretrained(tmp_path / "m")
    left_over = tmp_path / "m" / "model-00002-of-00002.safetensors"
    left_over.touch()
    testing.tiny_policy(seed=1, num_layers=1).save_pretrained(tmp_path / "m")
    assert Policy.from_pretrained(tmp_path / "m").config.num_layers == 1
    assert not left_over.exists()
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


@pytest.mark.parametrize("other", ["store.sqlite", "checkpoints"])
def test_a_folder_that_holds_more_than_a_model_is_not_replaced(
    other: str, tmp_path: Path, tiny_policy: Policy
) -> None:
    tiny_policy.save_pretrained(tmp_path / "m")
    (tmp_path / "m" / other).mkdir()
    with pytest.raises(ModelError, match="not a model's folder"):
        tiny_policy.save_pretrained(tmp_path / "m")
    assert (tmp_path / "m" / other).exists() and (tmp_path / "m" / "model.safetensors").exists()


def test_another_programs_config_is_not_replaced(tmp_path: Path, tiny_policy: Policy) -> None:
    (tmp_path / "config.json").write_text('{"schema": 1, "config": {}}')
    with pytest.raises(ModelError, match="not a model's folder"):
        tiny_policy.save_pretrained(tmp_path)
    assert (tmp_path / "config.json").read_text() == '{"schema": 1, "config": {}}'


def test_the_old_model_comes_back_where_the_new_one_cannot_take_its_place(
    tmp_path: Path, tiny_policy: Policy, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny_policy.save_pretrained(tmp_path / "m")
    before = {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()}
    rename = os.replace

    def failing(source: Path, target: Path) -> None:
        if Path(source).name == "model" and Path(target).name == "m":
            raise OSError(5, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(saving.os, "replace", failing)
    with pytest.raises(ModelError, match="Input/output error"):
        testing.tiny_policy(seed=1).save_pretrained(tmp_path / "m")
    assert {path.name: path.read_bytes() for path in (tmp_path / "m").iterdir()} == before
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


def test_a_model_whose_replacement_was_killed_is_put_back(tmp_path: Path, tiny_policy: Policy) -> None:
    tiny_policy.save_pretrained(tmp_path / "m")
    (tmp_path / "m").rename(tmp_path / ".m.replaced")
    (tmp_path / ".m.replaced" / "notes").touch()  # so that it is not replaced in turn
    with pytest.raises(ModelError, match="not a model's folder"):
        tiny_policy.save_pretrained(tmp_path / "m")
    assert [path.name for path in tmp_path.iterdir()] == ["m"]


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
