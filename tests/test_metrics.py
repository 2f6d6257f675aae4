"""The numbers against the paper's example and brute force, and metrics files that survive kill -9."""

import json
import math
import os
import signal
import subprocess
import sys
import textwrap
import time
from itertools import combinations
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorboardX.proto.event_pb2 import Event

from envisions_jax.metrics import (
    Judged,
    LearningCounts,
    MetricsError,
    MetricsWriter,
    Scores,
    accuracy,
    distinct_correct,
    exploratory_ability,
    iteration_metrics,
    learning_counts,
    log_prob_margin,
    mean_pass_at_k,
    pass_at_k,
    read_metrics,
    refinement_rates,
    scores,
    solved_tasks,
    stability,
    without_time,
)
from envs.base import VACUOUS
from tests.trajectories import candidate

ROOT = Path(__file__).parents[1]

# ---- Numbers -----------------------------------------------------------------------------------------------


def test_the_papers_example() -> None:
    """1,000 tasks solved, then 1,200 of which 800 are old: EA 0.333, STB 0.800."""
    first = {str(n) for n in range(1000)}
    second = {str(n) for n in range(200, 1400)}
    counts = learning_counts([first, second])
    assert counts == [LearningCounts(1000, 0, 0, 1000), LearningCounts(1200, 1000, 800, 400)]
    assert exploratory_ability(counts) == pytest.approx(0.333, abs=5e-4)
    assert stability(counts) == pytest.approx(0.800)


def test_scores_by_label_where_answers_are_labels() -> None:
    theories = [
        Judged("True", "correct"),
        Judged("True", "vacuous", VACUOUS),
        Judged("False", "infrastructure"),
        Judged("Unknown", "wrong", "line 1"),
    ]
    sums = [Judged(3, "correct"), Judged(4, "error")]
    told = scores({"theories": theories, "sums": sums, "nothing": []})
    assert told.accuracy == {"theories": pytest.approx(1 / 3), "sums": 0.5, "nothing": None}
    assert told.accuracy_by_label == {"theories": {"False": None, "True": 0.5, "Unknown": 0.0}}
    assert told.vacuous == {"theories": 1}
    many = [Judged(f"answer {number}", "correct") for number in range(6)]
    assert not scores({"texts": many}).accuracy_by_label and scores({"texts": many[:5]}).accuracy_by_label
    assert not scores({"mixed": [Judged("True", "correct"), Judged(1, "wrong")]}).vacuous
    by_answer = [Judged("True", "wrong"), Judged("Unknown", "correct", VACUOUS)]
    assert scores({"theories": by_answer}).vacuous == {"theories": 1}


@settings(deadline=None)
@given(st.lists(st.sets(st.sampled_from("abcdef")), max_size=6))
def test_learning_counts_by_brute_force(solved: list[set[str]]) -> None:
    counts = learning_counts(solved)
    ratios_new, ratios_old = [], []
    for i, tasks in enumerate(solved):
        history = set().union(*solved[:i])
        expected = LearningCounts(len(tasks), len(history), len(tasks & history), len(tasks - history))
        assert counts[i] == expected
        if i >= 1 and tasks:
            ratios_new.append(len(tasks - history) / len(tasks))
        if i >= 1 and history:
            ratios_old.append(len(tasks & history) / len(history))
    for found, ratios in ((exploratory_ability(counts), ratios_new), (stability(counts), ratios_old)):
        assert found == (pytest.approx(sum(ratios) / len(ratios)) if ratios else None)


def test_accuracy_leaves_infrastructure_out() -> None:
    assert accuracy(["correct", "wrong", "timeout", "error", "infrastructure"]) == 0.25
    assert accuracy(["infrastructure"]) is None
    assert accuracy([]) is None


@pytest.mark.parametrize("samples", range(1, 7))
def test_pass_at_k_is_the_share_of_subsets_with_a_correct_one(samples: int) -> None:
    for correct in range(samples + 1):
        verdicts = [n < correct for n in range(samples)]
        for k in range(1, samples + 1):
            subsets = list(combinations(verdicts, k))
            assert pass_at_k(samples, correct, k) == pytest.approx(sum(map(any, subsets)) / len(subsets))


@pytest.mark.parametrize(
    ("samples", "correct", "k"), [(5, 1, 0), (5, 1, 6), (5, 6, 1), (5, -1, 1), (0, 0, 1)]
)
def test_pass_at_k_refuses_nonsense(samples: int, correct: int, k: int) -> None:
    with pytest.raises(ValueError, match=f"samples={samples}, correct={correct}, k={k}"):
        pass_at_k(samples, correct, k)


def test_mean_pass_at_k_counts_judged_candidates() -> None:
    run = [candidate("a", 0), candidate("a", 1, "wrong"), candidate("b", 0, "wrong")]
    run.append(candidate("b", 1, "infrastructure"))
    assert mean_pass_at_k(run, 1) == pytest.approx((0.5 + 0.0) / 2)
    assert mean_pass_at_k(run, 2) == 1.0  # b has only one judged candidate.
    assert mean_pass_at_k(run, 3) is None


def test_log_prob_margin() -> None:
    run = [
        candidate(k=0, reward=-0.5),
        candidate(k=1, reward=-1.5),
        candidate(k=2, outcome="wrong", reward=-3.0),
    ]
    left_out = [
        candidate(k=3, outcome="invalid", reward=-math.inf),
        candidate(k=4, outcome="infrastructure", reward=-9.0),
        candidate(k=5, reward=None),
    ]
    assert log_prob_margin(run + left_out) == pytest.approx(2.0)
    assert log_prob_margin(run[:2] + left_out) is None


def test_distinct_and_solved() -> None:
    run = [candidate("a", k, text="same") for k in range(3)] + [candidate("b", text="same")]
    run.append(candidate("c", outcome="wrong"))
    assert distinct_correct(run) == 2
    assert solved_tasks(run) == {"a", "b"}


def test_refinement_rates() -> None:
    verdicts = {
        0: ("wrong", "correct"),
        1: ("error", "wrong"),
        2: ("timeout", "wrong"),
        3: ("correct", "wrong"),
    }
    verdicts |= {4: ("correct", "correct"), 5: ("infrastructure", "correct"), 6: ("wrong", "infrastructure")}
    explored = [candidate(k=k, outcome=before) for k, (before, _) in verdicts.items()]
    refined = [candidate(k=k, outcome=after, stage="refine") for k, (_, after) in verdicts.items()]
    rates = refinement_rates([*refined, candidate(k=9), *explored])
    assert (rates.wrong, rates.repaired, rates.right, rates.broken) == (3, 1, 2, 1)
    assert rates.repair == pytest.approx(1 / 3)
    assert rates.break_ == 0.5
    assert refinement_rates([]).repair is None


def test_iteration_metrics() -> None:
    first = [
        candidate("a", 0),
        candidate("a", 1, "wrong"),
        candidate("b", 0, "wrong"),
        candidate("b", 1, "error"),
    ]
    second = [
        candidate("a", 0, "wrong", -2.0, iteration=1),
        candidate("a", 1, "wrong", -2.0, iteration=1),
        candidate("b", 0, "correct", -0.5, iteration=1),
        candidate("b", 1, "timeout", -3.0, iteration=1),
        candidate("a", 0, "correct", -1.0, iteration=1, stage="refine"),
    ]
    kept = [second[4], *second[1:4]]
    numbers = iteration_metrics(
        first + second, kept, iteration=1, l1_examples=2, scores=Scores(accuracy={"asdiv": 0.5})
    )
    assert (numbers.tasks, numbers.solved_by_exploration, numbers.solved) == (2, 1, 2)
    assert (numbers.earlier, numbers.old, numbers.new, numbers.ea, numbers.stb) == (1, 1, 1, 0.5, 1.0)
    assert numbers.margin == pytest.approx(-0.75 + 2.5)
    assert (numbers.positives, numbers.negatives, numbers.distinct_correct) == (2, 2, 3)
    assert numbers.pass_at_k == {"1": 0.25, "2": 0.5}
    assert (numbers.repair_rate, numbers.break_rate) == (1.0, None)
    assert numbers.explore_outcomes["timeout"] == 1 and numbers.refine_outcomes["correct"] == 1
    start = iteration_metrics(first + second, first, iteration=0)
    assert (start.solved, start.earlier, start.ea, start.stb, start.repair_rate) == (1, 0, None, None, None)
    json.dumps(numbers.to_dict(), allow_nan=False)


def test_iterations_with_tasks_of_their_own_have_no_ability_and_no_stability() -> None:
    """As those of the web: nothing was tried twice, so nothing says what was kept or gained."""
    numbers = iteration_metrics([candidate("a"), candidate("b", iteration=1)], [], iteration=1)
    assert (numbers.solved, numbers.earlier, numbers.ea, numbers.stb) == (1, 1, None, None)


# ---- Files -------------------------------------------------------------------------------------------------


def scalars(folder: Path) -> list[tuple[str, int, float]]:
    """What TensorBoard would show; a record of an event file is length (8 bytes), crc (4), event, crc (4)."""
    found = []
    for file in sorted(folder.glob("events.out.tfevents.*")):
        content, place = file.read_bytes(), 0
        while place < len(content):
            length = int.from_bytes(content[place : place + 8], "little")
            event = Event.FromString(content[place + 12 : place + 12 + length])
            found += [(value.tag, event.step, round(value.simple_value, 6)) for value in event.summary.value]
            place += 16 + length
    return found


def test_records_and_events(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path) as metrics:
        assert metrics.write("train", {"loss": 0.5}, iteration=0, step=3)
        assert metrics.write(
            "iteration",
            {"ea": None, "accuracy": {"asdiv": 0.25}, "bad": -math.inf},
            iteration=0,
            time_s={"explore": 2.5},
        )
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    first, second = map(json.loads, lines)
    assert list(first) == ["kind", "iteration", "step", "loss", "time"]
    assert without_time(second) == {
        "kind": "iteration", "iteration": 0, "ea": None, "accuracy": {"asdiv": 0.25}, "bad": "-inf"
    }  # fmt: skip
    assert second["time"]["explore"] == 2.5 and second["time"]["written"] > 0
    assert scalars(tmp_path / "tensorboard") == [
        ("train/iteration_00/loss", 3, 0.5),
        ("iteration/accuracy/asdiv", 0, 0.25),
        ("iteration/bad", 0, -math.inf),
        ("iteration/time/explore", 0, 2.5),
    ]


def test_a_resumed_run_writes_nothing_twice(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for accuracy_now in (0.5, 0.5, 0.75):
        with MetricsWriter(tmp_path) as metrics:
            metrics.write("train", {"loss": 1.5}, iteration=-2, step=1)
            metrics.write("train", {"loss": 0.1 + 0.2, "k": 5}, iteration=0, step=1)
            metrics.write("iteration", {"accuracy": accuracy_now}, iteration=0)
    records = read_metrics(tmp_path / "metrics.jsonl")
    assert [record["kind"] for record in records] == ["train", "train", "iteration"]
    assert records[2]["accuracy"] == 0.5
    assert len(caplog.records) == 1 and "kept the first of two different records" in caplog.text
    tags = [tag for tag, _, _ in scalars(tmp_path / "tensorboard")]
    assert tags == [
        *("train/cold_start/loss", "train/iteration_00/loss", "train/iteration_00/k", "iteration/accuracy"),
    ]


@pytest.mark.parametrize("cut", [1, 5, 40])
def test_torn_last_line_is_repaired(tmp_path: Path, cut: int) -> None:
    """Cut inside the line it goes; with only the end of line missing it stays."""
    path = tmp_path / "metrics.jsonl"
    with MetricsWriter(tmp_path, tensorboard=False) as metrics:
        for step in range(3):
            metrics.write("train", {"loss": 1.0}, iteration=0, step=step)
    path.write_bytes(path.read_bytes()[:-cut])
    with MetricsWriter(tmp_path, tensorboard=False) as metrics:
        assert [metrics.write("train", {"loss": 1.0}, iteration=0, step=s) for s in range(3)] == [
            False,
            False,
            cut > 1,
        ]
    assert [record["step"] for record in read_metrics(path)] == [0, 1, 2]
    assert path.read_bytes().endswith(b"}\n")


@pytest.mark.parametrize("line", ['{"kind": "tra\n', "[1]\n", '{"kind": "train"}\n', "\n"])
def test_damaged_earlier_line_is_named_and_left(tmp_path: Path, line: str) -> None:
    path = tmp_path / "metrics.jsonl"
    content = '{"kind": "train", "iteration": 0}\n' + line + '{"kind": "train", "iteration": 1}\n'
    path.write_text(content)
    with pytest.raises(MetricsError, match=r"metrics.jsonl, line 2: not a metrics record"):
        MetricsWriter(tmp_path, tensorboard=False)
    assert path.read_text() == content


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with MetricsWriter(tmp_path, tensorboard=False) as metrics:
        with pytest.raises(MetricsError, match="reserved"):
            metrics.write("train", {"time": 3}, iteration=0)
        with pytest.raises(MetricsError, match=r"train record of iteration 0: .*plain numbers"):
            metrics.write("train", {"loss": object()}, iteration=0)
        metrics.write("iteration", {"iteration": 0, "a": 1}, iteration=0)
        with pytest.raises(MetricsError, match="reserved"):
            metrics.write("iteration", {"iteration": 1}, iteration=0)
    assert len(read_metrics(tmp_path / "metrics.jsonl")) == 1


WRITER = """
    import sys
    from envisions_jax.metrics import MetricsWriter

    with MetricsWriter(sys.argv[1], tensorboard=False) as metrics:
        print("open", flush=True)
        for step in range(int(sys.argv[2])):
            metrics.write("train", {"loss": step / 7, "names": ["x" * 500]}, iteration=0, step=step)
"""


def test_kill_while_writing(tmp_path: Path) -> None:
    steps = 300
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(tmp_path), str(steps)]
    for attempt in range(3):
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None and process.stdout.readline() == b"open\n"
            time.sleep(0.03 * attempt)
            os.kill(process.pid, signal.SIGKILL)
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, timeout=60)
    assert [record["step"] for record in read_metrics(tmp_path / "metrics.jsonl")] == list(range(steps))


def test_no_jax_is_imported() -> None:
    packages = "envisions_jax.store, envisions_jax.selection, envisions_jax.metrics"
    code = f"import sys, {packages}; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert done.stdout == "False\n"
