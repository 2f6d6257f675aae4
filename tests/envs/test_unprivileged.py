"""The same containment for an ordinary user: by user namespaces, and by Landlock and seccomp alone."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize("without", [[], ["namespaces", "private_root"]], ids=["user namespace", "none"])
def test_an_ordinary_user_is_as_safe(without: list[str]) -> None:
    files = set(os.listdir("/tmp"))
    done = subprocess.run(
        [sys.executable, "-m", "tests.envs.as_unprivileged", *without],
        cwd=_ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["user"] != 0
    assert said["wrong"] == {}
    assert {"no_new_privs", "unprivileged", "seccomp", "landlock"} <= set(said["layers"])
    assert not set(without) & set(said["layers"])
    assert "envs-marker" not in set(os.listdir("/tmp")) - files
