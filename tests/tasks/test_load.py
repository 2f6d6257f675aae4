"""Loading real data sets: local files in both forms, the hub, splits, and errors that say file and line."""

import gzip
import json
import re
import sys
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from envisions_jax.tasks import NAMES, TaskError, load
from envisions_jax.tasks.__main__ import main
from envisions_jax.tasks.math_sets import MATH_SETS

GSM8K = {"question": "How many clips?", "answer": "48 / 2 = <<48/2=24>>24\n48 + 24 = 72\n#### 1,072"}
SVAMP = {
    "ID": "chal-1",
    "Body": "There are 8 hens",
    "Question": "How many legs?",
    "Answer": "16.0",
    "Type": "M",
}
ASDIV = {
    "body": "Seven red apples.",
    "question": "How many?",
    "answer": "9 (apples)",
    "solution_type": "Addition",
}
GSM_HARD = {"input": "What is left?", "code": "def solution(): …", "target": -899901.7}
MATH = {
    "problem": "Find $x$.",
    "solution": r"It is $\boxed{-\frac{1}{2}}$.",
    "level": "Level 5",
    "type": "Algebra",
}


def _write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    path.write_bytes(gzip.compress(text.encode()) if path.suffix == ".gz" else text.encode())
    return path


@pytest.mark.parametrize(
    ("name", "split", "row", "task_id", "question", "answer"),
    [
        ("gsm8k", "train", GSM8K, "gsm8k/train/0", "How many clips?", 1072),
        ("svamp", "test", SVAMP, "chal-1", "There are 8 hens. How many legs?", 16),
        ("asdiv", "test", ASDIV, "asdiv/0000", "Seven red apples. How many?", 9),
        ("gsm_hard", "test", GSM_HARD, "gsm_hard/test/0", "What is left?", -899901.7),
        ("math", "test", MATH, "math/test/0", "Find $x$.", -0.5),
    ],
)
def test_rows_of_the_hubs_columns(
    tmp_path: Path, name: str, split: str, row: dict[str, Any], task_id: str, question: str, answer: float
) -> None:
    [task] = load(name, split, _write(tmp_path / "rows.jsonl.gz", [row]))
    assert (task.id, task.question, task.answer) == (task_id, question, answer)
    assert isinstance(task.answer, type(answer))


@pytest.mark.parametrize("name", MATH_SETS)
def test_rows_of_question_and_answer(tmp_path: Path, name: str) -> None:
    row = {"id": "a/1", "question": " How many? ", "answer": 3}
    [task] = load(name, "test", _write(tmp_path / "rows.jsonl", [row]))
    assert (task.id, task.question, task.answer) == ("a/1", "How many?", 3)


def test_math_keeps_rational_answers_only_and_right(tmp_path: Path) -> None:
    answers = [r"-\frac{1}{2}", r"\frac{\sqrt{51}}{7}", "17,44", "6"]
    rows = [{"id": str(i), "question": "?", "answer": answer} for i, answer in enumerate(answers)]
    file = _write(tmp_path / "math.jsonl", rows)
    assert [task.answer for task in load("math", "all", file)] == [-0.5, 6]
    assert load("math", "all", file)[0].meta["exact"] == "-1/2"
    assert [task.answer for task in load("math", "all", file, compat="reference")] == [0.5, 51 / 7, 1744, 6]


def test_asdiv_keeps_single_whole_numbers(tmp_path: Path) -> None:
    answers = [
        "9 (apples)",
        "3/5",
        "0.5 (miles)",
        "12 (boys); 3 (girls)",
        "10:20 AM",
        "1,200 (dollars)",
        "7.0",
    ]
    rows = [{**ASDIV, "answer": answer} for answer in answers]
    assert [task.answer for task in load("asdiv", "all", _write(tmp_path / "a.jsonl", rows))] == [9, 1200, 7]


def test_tasks_come_in_id_order_so_that_slices_are_splits(tmp_path: Path) -> None:
    rows = [{"id": f"x/{number}", "question": "?", "answer": number} for number in (10, 9, 2, 11, 1)]
    file = _write(tmp_path / "asdiv.jsonl", rows)
    assert [task.answer for task in load("asdiv", "all", file)] == [1, 2, 9, 10, 11]
    assert [task.answer for task in load("asdiv:all[:2]", "test", file)] == [1, 2]
    assert [task.answer for task in load("asdiv", "all[2:4]", file)] == [9, 10]
    sample = load("asdiv", "all", file, limit=3, seed=1)
    assert len(sample) == 3 and sample == load("asdiv", "all", file, limit=3, seed=1)
    assert [task.answer for task in sample] == sorted(task.answer for task in sample)


def test_generated_needs_no_file_and_takes_shares() -> None:
    assert load("generated", "test[2:5]") == load("generated", "test", limit=5)[2:]
    assert {task.meta["steps"] for task in load("generated", limit=20, mix=(0.0, 1.0))} == {2}
    assert load("generated:test[:3]", "train") == load("generated", "test", limit=3)


@pytest.mark.parametrize("file", ["gsm8k_train.jsonl", "gsm8k_train_7473.jsonl.gz"])
def test_a_folder_holds_files_by_name(tmp_path: Path, file: str) -> None:
    _write(tmp_path / file, [GSM8K])
    _write(tmp_path / "gsm8k.jsonl", [GSM8K, {**GSM8K, "id": "b"}])
    assert len(load("gsm8k", "train", tmp_path)) == 1
    assert len(load("gsm8k", "all", tmp_path)) == 2
    with pytest.raises(TaskError, match=r"has no gsm8k_test\.jsonl"):
        load("gsm8k", "test", tmp_path)
    _write(tmp_path / "gsm8k_train_2.jsonl", [GSM8K])
    with pytest.raises(TaskError, match="give the file itself"):
        load("gsm8k", "train", tmp_path)


GOOD = json.dumps({"id": "1", "question": "?", "answer": 1})


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (f"{GOOD}\n{{oops\n", ":2: not a line of JSON"),
        (f"{GOOD}\n\n[1]\n", ":3: must be a JSON object"),
        (f"{GOOD}\n" + '{"id": "2", "question": 5, "answer": 1}', ":2: column 'question' must be text, is 5"),
        (f"{GOOD}\n" + '{"id": "2", "answer": 1}', ":2: column 'question' must be text, is missing"),
        (
            f"{GOOD}\n" + '{"id": "2", "question": "?"}',
            ":2: column 'answer' is missing (there are id, question)",
        ),
        (
            f"{GOOD}\n" + '{"id": "2", "question": "?", "answer": "six"}',
            ":2: the answer must be a number, is 'six'",
        ),
        (
            f"{GOOD}\n" + '{"id": "2", "question": "?", "answer": NaN}',
            ":2: the answer must be a number, is nan",
        ),
        (f"{GOOD}\n" + '{"id": [2], "question": "?", "answer": 1}', ":2: id must be text"),
        (f"{GOOD}\n{GOOD}\n", ":2: id '1' was already used by "),
        ("\n", "bad.jsonl is empty"),
        (b"\xff\xfe{}", ":1: not UTF-8 text"),
        ("1" * 5000, ":1: not a line of JSON"),
    ],
)
def test_a_bad_row_is_named_by_file_and_line(tmp_path: Path, content: str | bytes, message: str) -> None:
    file = tmp_path / "bad.jsonl"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(TaskError, match=re.escape(message)) as error:
        load("gsm8k", "train", file)
    assert str(file) in str(error.value)


def test_a_torn_gzip_file_is_named(tmp_path: Path) -> None:
    file = _write(tmp_path / "torn.jsonl.gz", [{**GSM8K, "id": number} for number in range(2000)])
    file.write_bytes(file.read_bytes()[:-20])
    with pytest.raises(TaskError, match="cannot be read after line"):
        load("gsm8k", "test", file)
    file.write_bytes(b"no gzip")
    with pytest.raises(TaskError, match="cannot be read after line 0"):
        load("gsm8k", "test", file)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "gsm9k"}, "no data set is called 'gsm9k'"),
        ({"split": "dev"}, "split is 'dev'"),
        ({"split": "train[:-1]"}, "split is 'train[:-1]'"),
        ({"limit": 0}, "limit is 0"),
        ({"path": "nowhere.jsonl"}, "no file or folder nowhere.jsonl"),
        ({"level": "hard"}, "unknown option 'level'"),
        ({"compat": "both"}, "compat is 'both'"),
        ({"name": "svamp"}, "has no train split"),
        ({"name": "generated"}, "say how many"),
        ({"name": "generated", "limit": 1, "path": "x"}, "is made, not read"),
        ({"name": "generated", "limit": 1, "compat": "paper"}, "unknown option 'compat'"),
    ],
)
def test_impossible_requests_say_why(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(TaskError, match=re.escape(message)):
        load(**{"name": "gsm8k"} | arguments)


def test_an_empty_slice_and_a_file_of_the_other_split_are_errors(tmp_path: Path) -> None:
    file = _write(tmp_path / "rows.jsonl", [{"id": "gsm8k/train/0", "question": "?", "answer": 1}])
    with pytest.raises(TaskError, match="nothing in split"):
        load("gsm8k", "train[5:]", file)
    with pytest.raises(TaskError, match="'gsm8k/train/0', which is not of the split test"):
        load("gsm8k", "test", file)


def _fake_hub(monkeypatch: pytest.MonkeyPatch, load_dataset: Any) -> None:
    module = types.ModuleType("datasets")
    module.load_dataset = load_dataset  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


def test_the_hub_gives_every_config_and_split(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def load_dataset(hub_id: str, config: str, split: str) -> list[dict[str, str]]:
        asked.append((hub_id, config, split))
        return [MATH]

    _fake_hub(monkeypatch, load_dataset)
    assert [task.id for task in load("math", "train")] == [f"math/train/{number}" for number in range(7)]
    assert len(load("math", "all")) == 14
    assert set(asked[:7]) == {
        ("EleutherAI/hendrycks_math", config, "train") for config in MATH_SETS["math"].configs
    }


def test_without_the_hub_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise ConnectionError("cannot reach the hub")

    _fake_hub(monkeypatch, offline)
    with pytest.raises(
        TaskError, match=r"openai/gsm8k \(main, test\): cannot reach the hub.*local JSON Lines"
    ):
        load("gsm8k", "test")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(
        TaskError, match=r"needs the datasets library \(pip install 'envisions-jax\[data\]'\)"
    ):
        load("gsm8k", "test")


def test_counts_of_the_real_files(shared_data: Path) -> None:
    assert len(load("gsm8k", "train", shared_data)) == MATH_SETS["gsm8k"].paper_counts["train"] == 7473
    assert len(load("asdiv:all[:700]", path=shared_data)) == 700
    assert len(load("asdiv:all[700:]", path=shared_data)) == 300
    assert len(load("svamp", "test", shared_data)) == 700
    assert len(load("gsm_hard", "test", shared_data)) == 300
    labelled = load("math", "train", shared_data, compat="reference")
    assert len(labelled) == 237  # of 300: the share of the paper's 6,019 of 7,500
    assert len(load("math", "train", shared_data)) == 241


def test_the_command_prints_counts_and_samples(shared_data: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--path", str(shared_data)]) == 0
    table = capsys.readouterr().out
    assert all(name in table for name in NAMES) and re.search(r"gsm8k +train +7473 +7473", table)
    assert main(["--name", "generated", "--show", "5", "--split", "test"]) == 0
    assert capsys.readouterr().out.count("answer ") == 5


@pytest.mark.parametrize("arguments", [["--name", "nothing"], ["--show", "2", "--level", "odd"]])
def test_the_command_fails_in_one_line(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1
