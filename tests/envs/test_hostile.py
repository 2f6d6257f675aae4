"""Every hostile program ends in its typed outcome, in time, without effect, and the next one is fine."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import envs
from envs.python import PythonEnvironment
from tests.envs.conftest import run
from tests.envs.hostile import HOSTILE, Hostile

_LIMIT_S = 0.5
_WITHOUT: tuple[tuple[str, ...], ...] = ((), ("namespaces", "private_root"), ("landlock",))


@pytest.fixture(scope="module", params=_WITHOUT, ids=["all layers", "no namespaces", "no landlock"])
def confined(request: pytest.FixtureRequest) -> Iterator[PythonEnvironment]:
    """One worker, so that the next program is run by the same one; also as on hosts that lack a layer."""
    with PythonEnvironment(
        workers=1, time_limit_s=_LIMIT_S, memory_limit_mb=64, without=request.param
    ) as environment:
        assert run(environment, "result = 42").correct  # the worker is warm
        yield environment


@pytest.fixture
def victim() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(["sleep", "60"])
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("case", HOSTILE, ids=lambda case: case.name)
def test_hostile_program_is_contained(
    case: Hostile,
    confined: PythonEnvironment,
    victim: subprocess.Popen[bytes],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ENVS_SECRET", "42")
    marker, secret = tmp_path / "marker", tmp_path / "secret"
    secret.write_text("the host's own")
    for path in (tmp_path, *tmp_path.parents[:2]):
        path.chmod(0o755)
    secret.chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        program = case.program.format(
            marker=marker, secret=secret, port=server.getsockname()[1], victim=victim.pid
        )
        start = time.monotonic()
        outcome = run(confined, program)
        seconds = time.monotonic() - start
        with pytest.raises(BlockingIOError):
            server.accept()
    assert outcome.kind == case.kind, outcome
    assert case.error in outcome.error
    assert seconds < _LIMIT_S + 1.0
    assert len(outcome.output.encode()) <= 16_384
    assert not marker.exists()
    assert not Path("/tmp/envs-hostile").exists()
    assert not (Path(os.__file__).parent / "envs-hostile").exists()
    assert victim.poll() is None
    following = run(
        confined, "import math\ndef solution():\n    print(len('ab'))\n    return math.sqrt(1764)"
    )
    assert following == envs.Outcome("correct", 42.0, "2\n", "", following.seconds)


def test_every_attack_of_the_specification_is_here() -> None:
    assert len({case.name for case in HOSTILE}) == len(HOSTILE) == 20


@pytest.mark.parametrize(
    "line",
    [
        '{"answer": {"kind": "int", "text": "2a"}}',
        "[" * 60_000,
        "nonsense",
        '{"answer": 3}',
        '"text"',
        "\\xff",
    ],
)
def test_forging_the_answer_pipe_gives_an_answer_at_most(confined: PythonEnvironment, line: str) -> None:
    """A program may write its own answer there, as it may return it; it cannot write a verdict."""
    program = f"import os\nos.write(3, b'''{line}''' + bytes([10]))\nwhile True: pass"
    outcome = run(confined, program, answer=43)
    assert outcome.kind in ("wrong", "error")
    assert run(confined, "result = 42").correct


def test_a_program_does_not_find_the_right_answer_in_its_memory(environment: PythonEnvironment) -> None:
    program = """
import gc, sys
def solution():
    seen = [v for f in sys._current_frames().values() for v in f.f_back.f_locals.values()]
    return 42 if any(str(48151) + str(62342) in str(v) for v in seen + gc.get_objects()) else 0
"""
    task = envs.Task("secret", "?", 4815162342)
    assert [outcome.value for outcome in environment.execute([(task, program)] * 2)] == [0, 0]


def test_programs_leave_nothing_for_each_other(environment: PythonEnvironment) -> None:
    spoil = "import math, sympy, builtins\nmath.pi = 3\nsympy.Integer = None\nbuiltins.sum = len\nresult = 42"
    check = "import math, sympy\nresult = sum([40, 2]) if math.pi > 3.1 and sympy.Integer(1) == 1 else 0"
    task = envs.Task("spoil", "?", 42)
    outcomes = environment.execute([(task, spoil), (task, check)] * 4)
    assert [outcome.kind for outcome in outcomes] == ["correct"] * 8
