"""What every test shares: run-time shape checks, a compile cache, real data and models, no silent skips."""

from __future__ import annotations

import os
import signal
from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING

# CPU in float32 unless the caller chose a platform: the promised tolerances are those of CPU, f32.
# Set before JAX is imported, which reads it once.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
# PyTorch's threads sleep while they wait for each other: beside a process of environments, spinning takes ten
# times as long (measured). Read when PyTorch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

import hypothesis
import jax
import pytest
from jaxtyping import install_import_hook

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.scheduler import LoadScopeScheduling

    from envisions_jax import Policy

# Shapes and types of every annotated function of the package are checked while it is called (under jit:
# while it is traced, so compiled code is as fast as without). An int is accepted where a float is asked
# for (PEP 484). Must come before the first import of envisions_jax.
install_import_hook("envisions_jax", "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")

IN_CI = os.environ.get("CI", "").lower() in ("1", "true")
# No deadline per example: how long one takes on a busy machine says nothing. In CI always the same examples.
hypothesis.settings.register_profile("house", deadline=None, derandomize=IN_CI)
hypothesis.settings.load_profile("house")
# Folders and modules of which no test computes with JAX.
_WITHOUT_JAX = (
    *(f"tests/{folder}/" for folder in ("benchmarks", "envs", "launch", "plan", "store", "tasks", "tools")),
    *(
        f"tests/test_{module}.py"
        for module in ("ci_guard", "config", "main", "memory", "metrics", "progress")
    ),
    *(
        f"tests/test_{module}.py"
        for module in ("prompts", "selection", "summary", "task_sets", "train_tasks")
    ),
)
_CACHE = Path(os.environ.get("ENVISIONS_CACHE", "~/.cache/envisions-jax")).expanduser()


def pytest_configure() -> None:
    """Compiled programs are kept between test runs; only those that took longer than reading them back."""
    jax.config.update("jax_compilation_cache_dir", str(_CACHE / "jax-tests"))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    # What a shell starts behind it ignores Ctrl-C, and so would the programs that tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> LoadScopeScheduling:
    """With `-n 2` one process computes with JAX, the other drives environments and does the rest.

    Never two of the first kind at once: each takes both cores and several GiB.
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByKind(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "rest" if nodeid.startswith(_WITHOUT_JAX) else "models"

    return ByKind(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """In CI a skipped test is a failed one: nothing is allowed to go quietly untested."""
    report = yield
    if IN_CI and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be skipped: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """The same for a module that skips itself while it is collected (importorskip)."""
    report = yield
    if IN_CI and report.skipped:
        report.outcome = "failed"
        report.longrepr = f"skipped in CI, where nothing may be skipped: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the repository (or $ENVISIONS_SHARED_DATA); see CONTRIBUTING.md."""
    beside = Path(__file__).parents[2] / "shared" / "data"
    folder = Path(os.environ.get("ENVISIONS_SHARED_DATA", beside))
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}: set ENVISIONS_SHARED_DATA to the folder that has it")
    return folder


@pytest.fixture(scope="session")
def smollm2() -> Policy:
    """The embedded default model, SmolLM2-135M-Instruct, float32; fetched on first use. Do not change it."""
    from envisions_jax import Policy

    return Policy.from_pretrained("smollm2-135m", dtype="float32")


@pytest.fixture(scope="session")
def tiny_policy() -> Policy:
    """A random LLaMA of a few thousand weights with a small tokenizer. Do not change it."""
    from envisions_jax import testing

    return testing.tiny_policy()
