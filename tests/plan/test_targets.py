"""Accelerators by name."""

import pytest

from envisions_jax.config_rules import ConfigError
from envisions_jax.plan import targets
from envisions_jax.plan.targets import parse_target


@pytest.mark.parametrize(
    ("name", "devices", "topology"),
    [
        ("a100x8", 8, "1x1x8"),
        ("a100x1", 1, "1x1x1"),
        ("h100x32", 32, "4x1x8"),
        ("v5p-8", 4, "v5p:2x2x1"),
        ("v5p-16", 8, "v5p:2x2x2"),
        ("v5e-16", 16, "v5e:4x4"),
        ("v6e-8", 8, "v6e:2x4"),
        ("v5litepod-16", 16, "v5e:4x4"),
        ("A100x8", 8, "1x1x8"),
    ],
)
def test_a_name_says_what_it_is(name: str, devices: int, topology: str) -> None:
    target = parse_target(name)
    assert (target.devices, target.topology) == (devices, topology)


@pytest.mark.parametrize("name", ["", "a100", "a100x0", "a100x12", "b200x8", "v9-8", "here"])
def test_what_is_no_accelerator_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="a100x8"):
        parse_target(name)


@pytest.mark.parametrize(("name", "told"), [("v5p-7", "v5p-2, v5p-8, v5p-16"), ("v5e-3", "v5e-1, v5e-4")])
def test_sizes_that_there_are_not_are_told_with_those_that_there_are(name: str, told: str) -> None:
    with pytest.raises(ConfigError, match=f"target='{name}': there are {told}"):
        parse_target(name)


def test_a_missing_compiler_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(targets, "_is_installed", lambda package: False)
    for name, extra in (("a100x8", "cuda12"), ("v5p-8", "tpu")):
        with pytest.raises(ConfigError, match=rf"make compilers.*\.\[{extra}\]"):
            parse_target(name).prepare()
