"""ProofWriter and RuleTaker: the hub's columns and plain ones, worlds, labels, balanced samples."""

import json
import sys
import types
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from envisions_jax.tasks import DOMAINS, NAMES, TaskError, load
from envisions_jax.tasks.real import REAL_SETS

ROW = {"id": "a/1", "context": "Anne is red. ", "question": "Anne is not red.", "answer": "False"}
PROOFWRITER = {
    "id": "AttNoneg-OWA-D5-1",
    "theory": "Anne is red.",
    "question": "Bob is red.",
    "answer": "Unknown",
    "QDep": 0,
    "config": "depth-5",
}
RULETAKER = {
    "context": "Anne is red.",
    "question": "Bob is not red.",
    "label": "entailment",
    "config": "depth-5",
}


def _write(path: Path, *rows: Mapping[str, Any]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_every_set_has_a_domain() -> None:
    assert tuple(DOMAINS) == NAMES and set(REAL_SETS) < set(NAMES)
    assert {name for name, domain in DOMAINS.items() if domain == "logic"} == {
        *("theories", "proofwriter", "ruletaker")
    }


@pytest.mark.parametrize(
    ("name", "world", "asked"),
    [
        ("proofwriter", "open", "Is the following statement true, false, or unknown? Anne is not red."),
        ("ruletaker", "closed", "Is the following statement true or false? Anne is not red."),
    ],
)
def test_plain_rows(tmp_path: Path, name: str, world: str, asked: str) -> None:
    [task] = load(name, "test", _write(tmp_path / "rows.jsonl", ROW))
    assert (task.id, task.context, task.question, task.answer) == ("a/1", "Anne is red.", asked, "False")
    assert task.meta["world"] == world


def test_the_hubs_rows_are_counted_and_those_of_other_depths_left_out(tmp_path: Path) -> None:
    rows = [PROOFWRITER, {**PROOFWRITER, "config": "NatLang"}, {**PROOFWRITER, "question": "Anne is red."}]
    tasks = load("proofwriter", "train", _write(tmp_path / "rows.jsonl", *rows))
    assert [task.id for task in tasks] == ["proofwriter/train/0", "proofwriter/train/2"]
    assert tasks[0].answer == "Unknown" and tasks[0].context == "Anne is red." and tasks[0].meta["QDep"] == 0
    [task] = load("ruletaker", "test", _write(tmp_path / "rules.jsonl", RULETAKER))
    assert task.answer == "True" and task.question.endswith("? Bob is not red.")


@pytest.mark.parametrize(("letter", "label"), [("A", "True"), ("B", "False"), ("C", "Unknown")])
def test_rows_of_logic_lm(tmp_path: Path, letter: str, label: str) -> None:
    asked = "Based on the above information, is the following statement true, false, or unknown? Bob is red."
    row = {**ROW, "question": asked, "answer": letter}
    [task] = load("proofwriter", "test", _write(tmp_path / "rows.jsonl", row))
    assert task.question == "Is the following statement true, false, or unknown? Bob is red."
    assert task.answer == label


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ruletaker", {"answer": "Unknown"}, ":1: the answer must be one of True, False, is 'Unknown'"),
        ("proofwriter", {"answer": "D"}, "must be one of True, False, Unknown, is 'D'"),
        ("proofwriter", {"id": "RelNeg-CWA-D5-1"}, "the row is of the closed world, the set of the open one"),
        ("proofwriter", {"world": "closed"}, "the row is of the closed world"),
        ("proofwriter", {"label": "not entailment"}, "the row is of the closed world"),
        ("ruletaker", {"id": "proofwriter/1"}, "the row is of the open world, the set of the closed one"),
        ("proofwriter", {"context": "Anne \ud800 is red."}, "has half a character, U+D800"),
        ("proofwriter", {"question": "Is it?"}, "must be a statement, alone or behind"),
        ("proofwriter", {"question": "Anne is red? No."}, "must be a statement, alone or behind"),
        ("proofwriter", {"id": "RelNeg-OWA-1", "world": "closed"}, "the row is of the closed world"),
        ("proofwriter", {"id": "RelNeg-CWA-1", "world": "open"}, "the row is of the closed world"),
        ("proofwriter", {"world": "Open"}, "world must be one of open, closed, is 'Open'"),
        ("proofwriter", {"id": "a\ud800"}, "column 'id' has half a character, U+D800"),
        ("proofwriter", {"context": " "}, "column 'context' must be text"),
    ],
)
def test_a_bad_row_is_named(tmp_path: Path, name: str, change: dict[str, str], message: str) -> None:
    with pytest.raises(TaskError) as caught:
        load(name, "test", _write(tmp_path / "rows.jsonl", {**ROW, **change}))
    assert message in str(caught.value)


def test_ids_of_any_length_are_in_order(tmp_path: Path) -> None:
    ids = ["a10", "a9", "a09", "b", "a" + "1" * 5000]
    rows = [{**ROW, "id": name, "question": f"Q{name[:9]}{number}."} for number, name in enumerate(ids)]
    tasks = load("proofwriter", "test", _write(tmp_path / "rows.jsonl", *rows))
    assert [task.id for task in tasks] == ["a9", "a09", "a10", ids[-1], "b"]


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "rows.jsonl is empty"), ("[\n", "one row a line is wanted, not one array")],
)
def test_files_that_hold_no_rows(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "rows.jsonl").write_text(content)
    with pytest.raises(TaskError, match=message):
        load("proofwriter", "test", tmp_path / "rows.jsonl")


def test_a_path_that_no_file_can_have() -> None:
    with pytest.raises(TaskError, match="File name too long"):
        load("proofwriter", "test", "x" * 5000)


def test_a_file_called_like_the_other_split_is_refused(tmp_path: Path) -> None:
    file = _write(tmp_path / "proofwriter_train_1.jsonl", ROW)
    assert load("proofwriter", "train", file) == load("proofwriter", "all", file)
    with pytest.raises(TaskError, match="proofwriter_train in its name, which is not of the split test"):
        load("proofwriter", "test", file)


def test_a_sample_has_as_many_of_each_label(tmp_path: Path) -> None:
    answers = ["True"] * 30 + ["False"] * 4 + ["Unknown"] * 10
    rows = [{**ROW, "id": str(i), "question": f"Q{i}.", "answer": a} for i, a in enumerate(answers)]
    file = _write(tmp_path / "rows.jsonl", *rows)
    chosen = load("proofwriter", "train", file, limit=9, seed=1)
    assert Counter(task.answer for task in chosen) == {"True": 3, "False": 3, "Unknown": 3}
    assert chosen == load("proofwriter", "train", file, limit=9, seed=1)
    assert chosen != load("proofwriter", "train", file, limit=9, seed=2)
    assert len({task.id for task in load("proofwriter", "train", file, limit=32)}) == 32


def test_the_hub_is_asked_for_what_the_paper_uses(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(hub_id: str, config: str, split: str) -> list[dict[str, Any]]:
        asked.append((hub_id, split))
        return [PROOFWRITER] if "proofwriter" in hub_id else [RULETAKER]

    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)
    load("proofwriter", "train")
    load("ruletaker", "test")
    assert asked == [("tasksource/proofwriter", "train"), ("tasksource/ruletaker", "test")]
    with pytest.raises(TaskError, match="has no train split"):
        load("ruletaker", "train")


def test_counts_of_the_real_files(shared_data: Path) -> None:
    tasks = load("proofwriter", "train", shared_data)
    assert Counter(task.answer for task in tasks) == dict.fromkeys(("True", "False", "Unknown"), 1200)
    assert len(tasks) == REAL_SETS["proofwriter"].paper_counts["train"]
    assert set(Counter(task.answer for task in load("ruletaker", "test", shared_data))) == {"True", "False"}
