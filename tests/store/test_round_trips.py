"""The trajectory store gives back exactly what was written, in its order."""

import math
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envisions_jax.store import (
    EvaluationResult,
    SelectedExample,
    Shard,
    StoreConflictError,
    StoredTask,
    StoreError,
    Trajectory,
    TrajectoryStore,
)
from envs import Task
from tests.store.filled import fill
from tests.trajectories import candidate

# The tests' type checker looks at a random element of each sequence, also while hypothesis builds examples.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

ENCODABLE = st.characters(codec="utf-8")
values = st.none() | st.text(ENCODABLE) | st.integers() | st.floats(allow_nan=False)
log_probs = st.none() | st.floats(max_value=0.0, allow_nan=False)
trajectories = st.builds(
    Trajectory,
    iteration=st.integers(0, 3),
    stage=st.sampled_from(["explore", "refine"]),
    task_id=st.text(ENCODABLE, max_size=5),
    k=st.integers(0, 9),
    text=st.text(ENCODABLE),
    outcome=st.sampled_from(["correct", "wrong", "error", "timeout", "invalid", "infrastructure"]),
    completion=st.text(ENCODABLE),
    tokens=st.lists(st.integers(0, 2**32 - 1)).map(tuple),
    value=values,
    self_reward=log_probs,
    log_prob_sum=log_probs,
    seed=st.integers(-(2**63), 2**63 - 1),
    parent=st.none() | st.just("0/explore/0/a"),
)


@settings(max_examples=40, deadline=None)  # Each example makes a file.
@given(st.lists(trajectories, unique_by=lambda t: t.id, max_size=8))
def test_trajectories_come_back_exactly(given_ones: list[Trajectory]) -> None:
    with tempfile.TemporaryDirectory() as folder, TrajectoryStore(Path(folder) / "store") as store:
        store.add_many(given_ones)
        found = store.trajectories()
        assert {t.id: t for t in found} == {t.id: t for t in given_ones}
        assert all(t.num_tokens == len(t.tokens) and t.time is not None for t in found)
        without = store.trajectories(tokens=False)
        assert all(t.tokens == () for t in without)
        assert [t.num_tokens for t in without] == [t.num_tokens for t in found]


def test_undecodable_output_and_huge_integers_are_kept_readable(path: Path) -> None:
    odd = replace(candidate(), error="bad byte \udcff", output="clicked \udcff" * 999, value=10**9999)
    with TrajectoryStore(path) as store:
        store.add_many([odd])
        (found,) = store.trajectories()
        assert found.error == "bad byte \\udcff" and found.output.startswith("clicked \\udcffclicked")
        assert isinstance(found.value, str) and int(found.value, 16) == 10**9999
        store.add_many([odd])  # Still the same record.


def test_order_is_iteration_stage_tasks_k(path: Path) -> None:
    with fill(path) as store:
        store.add_many([candidate("a", 0, stage="refine"), candidate("z", 1, stage="refine")])
        store.add_many([candidate("unknown", 0), candidate("z", 0, iteration=1)])
        slots = [(t.iteration, t.stage, t.task_id, t.k) for t in store.trajectories()]
        assert slots[1:] == [
            *((0, "explore", task, k) for task in "za" for k in range(3)),
            (0, "refine", "z", 1),
            (0, "refine", "a", 0),
            (1, "explore", "z", 0),
        ]
        assert slots[0][2] == "unknown"  # Tasks that were never added come first, by id.
        assert [t.task_id for t in store.trajectories(0, "refine")] == ["z", "a"]
        assert len(store.trajectories(up_to=0)) == 9


def test_tasks_are_kept_in_order_by_split(path: Path) -> None:
    with fill(path) as store:
        store.add_tasks("asdiv", [Task("z", "another zebra?", 3.5)])
        store.add_tasks("train", [Task("a", "apple?", "1/2", "context", {"level": 2}), Task("m", "more?", 2)])
        apple = StoredTask(
            split="train",
            position=1,
            id="a",
            question="apple?",
            answer="1/2",
            context="context",
            meta={"level": 2},
        )
        assert store.tasks("train")[1] == apple
        assert [t.id for t in store.tasks("train")] == ["z", "a", "m"]
        assert [t.answer for t in store.tasks("asdiv")] == [3.5]
        with pytest.raises(StoreConflictError, match="another question: 'zebra\\?' there, 'other\\?' now"):
            store.add_tasks("train", [Task("z", "other?", 1)])


def test_kept_pool_selected_and_solved(path: Path) -> None:
    with fill(path) as store:
        refined = candidate("z", 0, iteration=1, stage="refine")
        explored = [candidate("z", 0, "wrong", iteration=1), candidate("a", 0, "timeout", iteration=1)]
        store.add_many([*explored, refined])
        store.record_kept(0, store.trajectories(0))
        store.record_kept(1, [explored[1], refined])
        assert [t.id for t in store.kept(1)] == [refined.id, explored[1].id]
        assert len(store.pool(0)) == 6 and len(store.pool(1)) == 8
        assert store.solved(1) == {"z"} and store.solved(1, after_refinement=False) == set()
        assert store.solved(0) == {"a", "z"}
        with pytest.raises(StoreConflictError, match="another trajectory_id"):
            store.record_kept(1, [explored[0]])
        with pytest.raises(StoreError, match="cannot be kept in iteration 1"):
            store.record_kept(1, [candidate()])
        chosen = SelectedExample(
            iteration=1, kind="L2", position=0, task_id="z", positive=refined.id, negative="n"
        )
        store.record_selected([chosen])
        assert store.selected(1) == [chosen] and store.selected(0) == []


def test_evaluations(path: Path) -> None:
    results = [
        EvaluationResult(
            iteration=i, test_set="asdiv", task_id=task, program="result = 1", outcome="wrong", prompt=prompt
        )
        for i in (-1, 0)
        for prompt in ("few_shot", "zero_shot")
        for task in "za"
    ]
    with TrajectoryStore(path) as store:
        store.add_tasks("asdiv", [Task("z", "", 1), Task("a", "", 1)])
        store.add_evaluations(results, shard=Shard(-1, "evaluate", 0))
        assert store.evaluations() == results
        assert store.evaluations(-1, "asdiv", "zero_shot") == results[2:4]
        assert store.evaluations(test_set="gsm8k") == []
        with pytest.raises(StoreConflictError, match="another outcome"):
            store.add_evaluations([replace(results[0], outcome="correct")])


@pytest.mark.parametrize(
    "change", [{"stage": "judge"}, {"outcome": "ok"}, {"iteration": -1}, {"k": -1}, {"self_reward": math.nan},
               {"log_prob_sum": math.inf}, {"seed": 2**63}],
)  # fmt: skip
def test_records_that_make_no_sense_are_refused(change: dict) -> None:
    made = candidate()
    for name, value in change.items():
        object.__setattr__(made, name, value)  # Past the tests' own type checker, as in a real run.
    with pytest.raises(ValueError, match=next(iter(change))):
        made.__post_init__()
