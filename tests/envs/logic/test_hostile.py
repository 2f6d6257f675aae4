"""Every hostile text has a typed outcome in time; no code runs, nothing is written, the next one is fine."""

import contextlib
import itertools
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pytest

import envs
from envs.logic import pyke_engine
from envs.logic.environment import LogicEnvironment
from envs.logic.language import LogicSyntaxError, parse
from envs.logic.theory import WORLDS, World, number
from envs.logic.worlds import find
from tests.envs.logic.engines import by_forward
from tests.envs.logic.hostile import COUNT, GOOD, hostile_texts

HOSTILE = hostile_texts()
_LIMIT_S = 1.0
# Processor time of this process, which reads a text and runs it by `forward`; Pyke's worker has a clock.
_MOST_CPU_S = 2.0
_QUIET = {"compile", "exec", "import", "open", "marshal.loads", "code.__new__"}
_LOUD = ("os.", "subprocess.", "socket.", "shutil.", "ctypes.", "pty.", "tempfile.", "mmap.")


def _task(world: str) -> envs.Task:
    return envs.Task("hostile", "?", "True", meta={"world": world})


def test_there_are_as_many_as_asked() -> None:
    assert len({case.name for case in HOSTILE}) == len(HOSTILE) == COUNT == 500
    assert sum("damaged" in case.name for case in HOSTILE) < 100
    assert sum(len(case.text) >= 9_999_990 for case in HOSTILE) >= 15


@pytest.fixture(scope="module", params=["forward", "pyke"])
def environment(request: pytest.FixtureRequest) -> Iterator[LogicEnvironment]:
    """One worker, so that the next program is run by the same one."""
    with LogicEnvironment(request.param, workers=1, time_limit_s=_LIMIT_S, memory_limit_mb=64) as environment:
        yield environment


def test_hostile_texts_have_typed_outcomes_in_time(
    environment: LogicEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    canary = tmp_path / "canary"
    workers = environment.processes()
    for case, world in zip(HOSTILE, itertools.cycle(WORLDS), strict=False):
        text = case.text.replace("CANARY", str(canary))
        start = time.process_time()
        outcome, following = environment.execute([(_task(world), text), (_task(world), GOOD)])
        assert time.process_time() - start < _MOST_CPU_S, case.name
        assert outcome.kind in case.kinds, (case.name, outcome)
        assert len(outcome.error) <= 200 and outcome.error.isprintable(), case.name
        assert outcome.kind != "invalid" or outcome.error.startswith("line "), (case.name, outcome)
        assert following.correct, (case.name, following)
    assert not list(tmp_path.iterdir())
    assert environment.processes() == workers, "no worker needed to be replaced"


def test_no_code_runs_and_nothing_is_opened(tmp_path: Path, deep_recursion: None) -> None:
    """What Python reports of itself while both engines read and run the texts, here in this process."""
    canary = tmp_path / "canary"
    assert _Watch.run(lambda: compile("open", "f", "eval")), "the watch is awake"
    assert _Watch.run(lambda: open(os.devnull).close()), "the watch is awake"
    pyke_engine.warm_up()
    runs = 0
    for case, world in itertools.product(HOSTILE, WORLDS):
        if "timeout" in case.kinds and "damaged" not in case.name:
            continue  # here is no limit of time for Pyke
        text = case.text.replace("CANARY", str(canary))
        said: list[bytes] = []
        assert _Watch.run(lambda text=text, world=world, said=said: _run(text, world, said)) == [], case.name
        assert all("findings" in json.loads(line) for line in said), (case.name, said)
        runs += len(said)
    assert runs >= 60, "some of them are programs"
    assert not canary.exists()


def _run(text: str, world: World, said: list[bytes]) -> None:
    """Both engines on a text, if it is a program; `said` gets what Pyke says."""
    with contextlib.suppress(LogicSyntaxError):
        theory = number(parse(text), world)
        find(theory, by_forward)
        said.append(pyke_engine.run(theory.to_json()))


def test_no_text_reaches_an_engine() -> None:
    """A theory is numbers alone, whatever the program's names are."""
    for case in HOSTILE:
        try:
            program = parse(case.text)
        except LogicSyntaxError:
            continue
        for world in WORLDS:
            theory = number(program, world)
            assert set(json.dumps(theory.to_json())) <= set('{}[]", -0123456789:factsruleqy')


class _Watch:
    """Python's audit hook, which cannot be taken off again, and so is switched on and off."""

    _events: ClassVar[list[str]] = []
    _is_on = False
    _is_installed = False

    @classmethod
    def run(cls, work: Callable[[], object]) -> list[str]:
        """The events of `work()` that a reader and a chainer have no need for."""
        if not cls._is_installed:
            sys.addaudithook(cls._hear)
            cls._is_installed = True
        cls._events, cls._is_on = [], True
        try:
            work()
        finally:
            cls._is_on = False
        return cls._events

    @classmethod
    def _hear(cls, event: str, arguments: object) -> None:
        if cls._is_on and (event in _QUIET or event.startswith(_LOUD)):
            cls._events.append(event)
