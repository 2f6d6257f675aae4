"""The logic benchmark's peer gives the right answers, and leaves nothing behind."""

import sys
from pathlib import Path

import pytest

from benchmarks.logic import file_and_compile, load_programs
from benchmarks.measure import BenchmarkError
from envs.logic.language import parse
from envs.logic.pyke_engine import derive
from envs.logic.theory import number
from envs.logic.worlds import answer, find


@pytest.mark.parametrize("has_data", [True, False])
def test_every_side_gives_the_right_answers(
    has_data: bool, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    if has_data:
        monkeypatch.setenv("ENVISIONS_SHARED_DATA", str(request.getfixturevalue("shared_data")))
    else:
        monkeypatch.delenv("ENVISIONS_SHARED_DATA", raising=False)
        monkeypatch.setattr("benchmarks.logic.SHARED_DATA", Path("/no such folder"))
    source, programs = load_programs(12)
    assert ("generated" in source) is not has_data
    assert {task.answer for task, _ in programs} == {"True", "False", "Unknown"}
    paths, modules = list(sys.path), set(sys.modules)
    with file_and_compile() as peer:
        for task, text in programs:
            program = parse(text)
            assert peer(text) == task.answer
            assert answer(find(number(program, "open"), derive), program.query, "open") == task.answer
    assert sys.path == paths
    assert not [name for name in set(sys.modules) - modules if name.startswith("program")]


def test_a_folder_that_was_named_and_has_no_data_is_an_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ENVISIONS_SHARED_DATA", str(tmp_path))
    with pytest.raises(BenchmarkError, match=r"ENVISIONS_SHARED_DATA=.*No such file"):
        load_programs(12)
