"""Run by `test_unprivileged.py`: becomes an ordinary user, then runs the hostile programs; prints what it
saw.

Root may have installed Python or this repository under a home that others cannot enter, so they are first
mounted into a mount namespace of this process where everyone can.
"""

import json
import os
import sys
import tempfile
from pathlib import Path

import envs
from envs.python import PythonEnvironment
from envs.sandbox import linux
from tests.envs.hostile import HOSTILE

_USER = 54321


def _private_ancestor(path: Path) -> Path | None:
    """The topmost folder above or at `path` that others may not enter."""
    return next((p for p in reversed([path, *path.parents]) if not p.stat().st_mode & 0o001), None)


def _open_to_everyone(paths: list[Path]) -> None:
    linux.unshare(linux.CLONE_NEWNS)
    linux.mount(None, "/", None, linux.MS_REC | linux.MS_PRIVATE)
    for ancestor in {_private_ancestor(path) for path in paths} - {None}:
        inside = [path for path in paths if ancestor in (path, *path.parents)]
        aside = Path(tempfile.mkdtemp())
        linux.mount("tmpfs", str(aside), "tmpfs", 0)
        for number, path in enumerate(inside):
            (aside / str(number)).mkdir()
            linux.mount(str(path), str(aside / str(number)), None, linux.MS_BIND | linux.MS_REC)
        linux.mount("tmpfs", str(ancestor), "tmpfs", 0, "mode=755")
        for number, path in enumerate(inside):
            path.mkdir(parents=True, exist_ok=True)
            linux.mount(str(aside / str(number)), str(path), None, linux.MS_BIND | linux.MS_REC)
        linux.unmount(str(aside))
        aside.rmdir()


def main() -> None:
    """Prints {"user": …, "layers": …, "wrong": {name: outcome}} for the layers named on the command line
    left out.
    """
    if os.geteuid() == 0:
        root = Path(__file__).resolve().parents[2]
        _open_to_everyone([Path(sys.base_prefix), Path(sys.prefix), root])
        os.setgroups([])
        os.setresgid(_USER, _USER, _USER)
        os.setresuid(_USER, _USER, _USER)
    task, wrong = envs.Task("t", "?", 42), {}
    values = {"marker": "/tmp/envs-marker", "secret": "/etc/hostname", "port": 9, "victim": os.getpid()}
    with PythonEnvironment(
        workers=1, time_limit_s=0.5, memory_limit_mb=64, without=sys.argv[1:]
    ) as environment:
        for case in HOSTILE:
            programs = [(task, case.program.format(**values)), (task, "result = 42")]
            outcome, following = environment.execute(programs)
            if outcome.kind != case.kind or case.error not in outcome.error or not following.correct:
                wrong[case.name] = str((outcome, following))
        print(json.dumps({"user": os.geteuid(), "layers": environment.layers, "wrong": wrong}))


if __name__ == "__main__":
    main()
