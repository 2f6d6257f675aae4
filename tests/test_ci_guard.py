"""With CI=true nothing is skipped quietly: a skipped test, or module, fails the run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPS = {
    "test_itself.py": "import pytest\ndef test_it():\n    pytest.skip('no such device')\n",
    "test_fixture.py": "def test_it(shared_data):\n    assert shared_data\n",
    "test_module.py": "import pytest\npytest.importorskip('a_module_that_nobody_has')\n",
}


@pytest.mark.parametrize(("ci", "summary"), [("true", "1 failed, 2 errors in"), ("", "3 skipped in")])
def test_a_skip_fails_the_run_in_ci_alone(tmp_path: Path, ci: str, summary: str) -> None:
    shutil.copy(Path(__file__).with_name("conftest.py"), tmp_path)
    for name, source in SKIPS.items():
        (tmp_path / name).write_text(source)
    run = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--continue-on-collection-errors"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "CI": ci, "ENVISIONS_SHARED_DATA": str(tmp_path / "absent")},
        timeout=240,
    )
    assert summary in run.stdout.splitlines()[-1]
    assert ("skipped in CI" in run.stdout) == bool(ci)
    assert (run.returncode == 0) == (not ci)
