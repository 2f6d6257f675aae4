"""With CI=true nothing is skipped quietly: a skipped test, or module, fails the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).with_name("conftest.py")

SKIPPED_TEST = """
import pytest

def test_something():
    pytest.skip("no such device")
"""
SKIPPED_FIXTURE = """
def test_something(shared_data):
    assert shared_data
"""
SKIPPED_MODULE = """
import pytest

pytest.importorskip("a_module_that_nobody_has")
"""


@pytest.mark.parametrize("source", [SKIPPED_TEST, SKIPPED_FIXTURE, SKIPPED_MODULE])
@pytest.mark.parametrize("ci", ["true", ""])
def test_a_skip_fails_the_run_in_ci_alone(tmp_path, source, ci):
    shutil.copy(CONFTEST, tmp_path)
    (tmp_path / "test_skips.py").write_text(source)
    environment = {**os.environ, "CI": ci, "ENVISIONS_SHARED_DATA": str(tmp_path / "absent")}
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", tmp_path],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment,
        timeout=120,
    )
    if ci:
        assert run.returncode in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.INTERRUPTED)
        assert "skipped in CI" in run.stdout
    else:
        assert run.returncode in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED)
        assert "1 skipped" in run.stdout
