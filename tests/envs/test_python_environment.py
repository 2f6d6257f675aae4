"""Forms of programs, typed outcomes, options and errors of the Python environment."""

import logging

import pytest

import envs
from envs.programs import extract_program
from envs.python import PythonEnvironment
from tests.envs.conftest import run


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("result = 1\n", "result = 1"),
        ("Here:\n```python\nresult = 1\n```\nDone.", "result = 1"),
        ("```\nresult = 1\n```", "result = 1"),
        ("```python\nresult = 1", "result = 1"),
        ("```python\na = 1\n```\n```python\nb = 2\n```", "a = 1"),
        ("```\n\n```", ""),
        ("```python\nresult = 1```\nDone.", "result = 1"),
        ("a = '```'\nresult = 1", "a = '```'\nresult = 1"),  # a fence begins a line
        ("```result = 1", "```result = 1"),
        ("", ""),
    ],
)
def test_extract_program(text: str, program: str) -> None:
    assert extract_program(text) == program


_GOOD = {
    "solution": "def solution():\n    return 42",
    "result": "result = 40 + 2",
    "imports above": "import math\nfrom sympy import Rational as R\n\n"
    "def solution():\n    return math.floor(R(85, 2))",
    "helpers above": "K = 2\ndef twice(x):\n    return K * x\ndef solution():\n    return twice(21)",
    "comment first": "# the answer\ndef solution():\n    return 42",
    "fenced": "```python\ndef solution():\n    return 42\n```",
    "solution before result": "result = 1\ndef solution():\n    return 42",
    "lambda": "solution = lambda: 42",
    "recursion": "def solution(n=42):\n    return n and 1 + solution(n - 1)",
    "dataclass": "from dataclasses import dataclass\n@dataclass\nclass P:\n    x: int\n"
    "def solution():\n    return P(42).x",
    "windows lines": "def solution():\r\n    return 42\r\n",
    "sympy solve": "from sympy import *\nx = symbols('x')\n"
    "def solution():\n    return solve(Eq(x / 2, 21), x)[0]",
    "all packages": "import math, sympy, numpy, fractions, datetime, itertools, statistics, collections\n"
    "result = statistics.mean([41, 43])",
    "a package that is not preloaded": "import xml.dom.minidom, sqlite3, csv, zoneinfo\nresult = 42",
    "non-ASCII": "größe = 42\nresult = größe",
    "thread": "import threading\nout = []\nt = threading.Thread(target=out.append, args=(42,))\n"
    "t.start()\nt.join()\ndef solution():\n    return out[0]",
}


@pytest.mark.parametrize("name", _GOOD)
def test_accepted_forms(environment: PythonEnvironment, name: str) -> None:
    outcome = run(environment, _GOOD[name])
    assert outcome.correct, outcome
    assert outcome.error == ""


@pytest.mark.parametrize(
    ("program", "kind", "error"),
    [
        ("def solution(:\n    return 1", "invalid", "SyntaxError: invalid syntax (line 1)"),
        ("", "invalid", "neither solution() nor result"),
        ("x = 42", "invalid", "neither solution() nor result"),
        ("result = '\udcff'.encode()", "invalid", "UnicodeEncodeError"),
        ("result = 1\0", "invalid", "null bytes"),
        ("result = " + "(" * 300, "invalid", "SyntaxError"),
        ("result = " + "-" * 100_000 + "1", "invalid", "Error"),
        (
            "x = 1\n\ndef solution():\n    return x / 0",
            "error",
            "ZeroDivisionError: division by zero (line 4)",
        ),
        ("import nonsense", "error", "ModuleNotFoundError: No module named 'nonsense' (line 1)"),
        (
            "def solution():\n    return undefined",
            "error",
            "NameError: name 'undefined' is not defined (line 2)",
        ),
        ("def solution(x):\n    return x", "error", "TypeError"),
        ("raise ValueError('y' * 10 ** 6)", "error", "ValueError: yyy"),
        ("class E(Exception):\n    def __str__(self): raise E\nraise E", "error", "E (line 3)"),
        ("raise KeyboardInterrupt", "error", "KeyboardInterrupt"),
        ("def solution():\n    return None", "error", "no answer (None)"),
        ("import time\ntime.sleep(60)", "timeout", "time limit"),
        ("import os\nos.close(3)\nos.close(1)\nwhile True: pass", "timeout", "time limit"),
        ("import os\nos.close(3)\nresult = 42", "error", "exited"),
        ("import sys\nsys.stdout = None\nresult = 41", "wrong", ""),
        ("import os\nos.abort()", "error", "killed by SIG"),
    ],
)
def test_typed_outcomes(environment: PythonEnvironment, program: str, kind: str, error: str) -> None:
    outcome = run(environment, program)
    assert outcome.kind == kind, outcome
    assert error in outcome.error
    assert len(outcome.error) <= 500
    assert outcome.value is None or outcome.value == 41


def test_output_is_kept_apart_from_the_answer(environment: PythonEnvironment) -> None:
    outcome = run(
        environment, "import sys\nprint('7')\nprint('no', file=sys.stderr)\nresult = 42\nprint('ü')"
    )
    assert outcome == envs.Outcome("correct", 42, "7\nü\n", "", outcome.seconds)


def test_seconds_are_the_program_s_own(environment: PythonEnvironment) -> None:
    outcome = run(environment, "import time\ntime.sleep(0.3)\nresult = 42")
    assert 0.3 <= outcome.seconds < 1.0


def test_chance_is_the_same_in_every_worker(environment: PythonEnvironment) -> None:
    program = "import random, numpy\nresult = str((random.random(), numpy.random.rand(), hash('a')))"
    task = envs.Task("chance", "?", 0)
    assert len({outcome.value for outcome in environment.execute([(task, program)] * 12)}) == 1


_WITH_ADDRESSES = {
    "generator": "def solution():\n    yield 42",
    "async def": "async def solution():\n    return 42",
    "lambda": "result = lambda: 42",
    "instance": "class Cow: pass\nresult = Cow()",
    "bound method": "class Cow:\n    def legs(self): pass\nresult = Cow().legs",
    "list of instances": "class Cow: pass\nresult = [Cow(), 42]",
    "dictionary": "result = {'f': lambda: 42}",
    "code": "result = (lambda: 42).__code__",
    "in a text": "def solution(): return f'The answer is {solution}'",
    "raised": "def solution(): raise ValueError(solution)",
    "unknown key": "def solution(): return {}[solution]",
}


def test_outcomes_are_the_same_in_every_run() -> None:
    """Also where a program answers or raises with an object, which Python describes by its address."""
    programs = [(envs.Task(name, "?", 42), text) for name, text in _WITH_ADDRESSES.items()]
    seen = []
    for _ in range(2):
        with PythonEnvironment(workers=1) as environment:
            seen.append([(o.kind, o.value, o.output, o.error) for o in environment.execute(programs)])
    assert seen[0] == seen[1]
    assert all("0x…" in f"{value}{error}" for _, value, _, error in seen[0]), seen[0]


@pytest.mark.parametrize("text", ["0x1f", "the byte at 0x1f", "<b> at 0x7fffffffffff"])
def test_a_text_with_hexadecimal_digits_stays_as_it_is(environment: PythonEnvironment, text: str) -> None:
    assert run(environment, f"result = {text!r}", answer=text).value == text
    assert run(environment, f"result = {text!r}", answer=text).correct


def test_full_sandbox_here(environment: PythonEnvironment) -> None:
    """This host has every layer; where one is missing the tests must not pass silently."""
    assert set(environment.layers) >= {"no_new_privs", "unprivileged", "seccomp", "landlock"}


def test_it_fails_closed() -> None:
    with pytest.raises(envs.EnvironmentFailure, match=r"cannot confine programs: missing seccomp.*sandbox="):
        PythonEnvironment(workers=1, without=("seccomp",))


def test_best_takes_what_there_is_and_says_so(caplog: pytest.LogCaptureFixture) -> None:
    with PythonEnvironment(workers=1, sandbox="best", without=("seccomp",)) as environment:
        assert "seccomp" not in environment.layers
        assert "missing seccomp" in caplog.text
        assert run(environment, "result = 42").correct
        assert run(environment, "result = open('/etc/passwd').read()").kind == "error"


def test_none_is_for_trusted_programs_only_but_still_limits(caplog: pytest.LogCaptureFixture) -> None:
    with (
        caplog.at_level(logging.WARNING),
        PythonEnvironment(workers=1, time_limit_s=0.3, sandbox="none") as environment,
    ):
        assert environment.layers == ()
        assert "without a sandbox" in caplog.text
        assert run(environment, "result = 42").correct
        assert run(environment, "while True: pass").kind == "timeout"
        assert "MemoryError" in run(environment, "x = bytearray(10 ** 10)").error


def test_memory_limit_is_what_was_asked_for() -> None:
    with PythonEnvironment(workers=1, memory_limit_mb=64) as environment:
        assert run(environment, "x = bytearray(40 << 20)\nresult = 42").correct
        assert "MemoryError" in run(environment, "x = bytearray(80 << 20)\nresult = 42").error


@pytest.mark.parametrize(
    "options",
    [
        {"workers": 0},
        {"time_limit_s": -1},
        {"time_limit_s": float("nan")},
        {"time_limit_s": float("inf")},
        {"time_limit_s": 3601},
        {"memory_limit_mb": 0},
        {"memory_limit_mb": 15},
        {"memory_limit_mb": 10**14},
        {"memory_limit_mb": 64.5},
        {"output_limit": 0},
        {"time_limit_s": "5"},
        {"sandbox": "strong"},
        {"without": ("walls",)},
    ],
)
def test_impossible_options_are_named(options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=name):
        envs.make("python", **options)


@pytest.mark.parametrize("entry", ["result = 1", (1, "result = 1"), (envs.Task("t", "?", 1), None), None])
def test_only_pairs_of_task_and_text_are_executed(environment: PythonEnvironment, entry: object) -> None:
    good = (envs.Task("good", "?", 1), "result = 1")
    with pytest.raises(TypeError, match="takes pairs"):
        list(environment.execute([good, entry]))  # type: ignore[list-item]
    assert run(environment, "result = 1").kind == "wrong"  # and the environment is as good as before


def test_unknown_environment_and_option() -> None:
    with pytest.raises(ValueError, match=r"unknown environment 'pyhton': choose one of .*python"):
        envs.make("pyhton")
    with pytest.raises(TypeError, match="speed"):
        envs.make("python", speed=3)


def test_it_is_an_environment(environment: PythonEnvironment) -> None:
    assert isinstance(environment, envs.Environment)
