"""The lock files: their form, that they cover what pyproject.toml asks for, and how a difference is told."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tools import lock

ROOT = Path(__file__).parents[2]


def declared(extra: str | None = None) -> set[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    requirements = project["dependencies"] if extra is None else project["optional-dependencies"][extra]
    return {lock.canonical(re.match(r"[A-Za-z0-9._-]+", line)[0]) for line in requirements}


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-dev.lock"])
def test_lock_has_exact_versions_only(name):
    locked = lock.read(ROOT / name)
    assert declared() <= locked.keys()
    assert not locked.keys() & lock.NOT_LOCKED


def test_no_lock_asks_for_gpu_libraries():
    assert not [name for name in lock.read(ROOT / "requirements-dev.lock") if name.startswith("nvidia")]


def test_dev_lock_extends_the_base_lock():
    base, dev = lock.read(ROOT / "requirements.lock"), lock.read(ROOT / "requirements-dev.lock")
    assert base.items() <= dev.items()
    assert declared("dev") <= dev.keys()
    assert dev["torch"] == "2.13.0"


def test_gpu_pins_agree_with_the_lock():
    locked = lock.read(ROOT / "requirements-dev.lock")
    pins = re.findall(r"^([\w.-]+)(?:\[\w+\])?==(\S+)$", (ROOT / "requirements-gpu.txt").read_text(), re.M)
    assert len(pins) > 10
    assert not [(name, pin) for name, pin in pins if locked.get(lock.canonical(name), pin) != pin]


@pytest.mark.parametrize(
    "line", ["jax>=0.10", "jax @ file:///wheels/jax.whl", "jax==0.10.2 --hash=sha256:00"]
)
def test_a_line_that_is_no_exact_version_is_named(tmp_path, line):
    path = tmp_path / "bad.lock"
    path.write_text(f"# header\n{line}\n")
    with pytest.raises(ValueError, match=re.escape(f"{path}:2")):
        lock.read(path)


def test_differences_name_what_is_absent_and_what_is_of_another_version():
    found = lock.differences({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9", "extra": "0"})
    assert found == ["b: locked 2, installed 9", "c: locked 3, not installed"]


def test_a_cpu_build_counts_as_its_version():
    assert lock.public("2.13.0+cpu") == "2.13.0"
