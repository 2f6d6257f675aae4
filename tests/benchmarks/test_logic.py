"""The logic benchmark's peer gives the right answers, and leaves nothing behind."""

import sys

import pytest

from benchmarks.logic import file_and_compile, load_programs
from envs.logic.language import parse
from envs.logic.pyke_engine import derive
from envs.logic.theory import number
from envs.logic.worlds import answer, find


@pytest.mark.parametrize("has_data", [True, False])
def test_every_side_gives_the_right_answers(
    has_data: bool, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    folder = str(request.getfixturevalue("shared_data")) if has_data else "/no such folder"
    monkeypatch.setenv("ENVISIONS_SHARED_DATA", folder)
    programs = load_programs(12)
    assert {task.answer for task, _ in programs} == {"True", "False", "Unknown"}
    paths, modules = list(sys.path), set(sys.modules)
    with file_and_compile() as peer:
        for task, text in programs:
            program = parse(text)
            assert peer(text) == task.answer
            assert answer(find(number(program, "open"), derive), program.query, "open") == task.answer
    assert sys.path == paths
    assert not [name for name in set(sys.modules) - modules if name.startswith("program")]
