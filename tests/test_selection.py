"""Filter, pool, rank and pairs, each against an independent brute-force reading of the rules."""

import math
import random
from collections import Counter, defaultdict

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from envisions_jax.selection import (
    Budget,
    Selection,
    SelectionConfig,
    build_pools,
    choose,
    filter_slot,
    is_usable,
    keep,
    select,
    verdict_budget,
)
from envisions_jax.selection.draws import reward_of
from envisions_jax.store import Trajectory
from tests.trajectories import candidate

# The tests' type checker looks at a random element of each sequence, also while hypothesis builds examples.
pytestmark = pytest.mark.filterwarnings("ignore:Do not use the `random` module inside strategies")

# The selection part of `config_reference`: the released code's rules.
REFERENCE = SelectionConfig(merge="reference", hold_back=True, dedup="global", quote_question_iterations=3)

OUTCOMES = ["correct", "wrong", "error", "timeout", "invalid", "infrastructure"]
REWARDS = [-0.5, -1.0, -2.0, -math.inf]  # Few values, so that ties are common.


@st.composite
def runs(draw: st.DrawFn) -> list[Trajectory]:
    """Trajectories of three iterations (refinements from the second on) with many equal texts and rewards."""
    found = []
    for iteration in range(3):
        for stage in ("explore", "refine") if iteration else ("explore",):
            for task in ("b", "a"):
                for k in range(3):
                    text = draw(st.sampled_from(["p", "q", "r", "s", "t", "question b p", "", f"own {k}"]))
                    reward = draw(st.sampled_from(REWARDS)) if text else -math.inf
                    outcome = draw(st.sampled_from(OUTCOMES)) if text else "invalid"
                    found.append(
                        candidate(task, k, outcome, reward, iteration=iteration, stage=stage, text=text)
                    )
    return found


# ---- Filter ------------------------------------------------------------------------------------------------

# (b, r, b', r') → whether the refinement is kept by the paper's rule, and by the released code's.
FILTER_TABLE = [
    (1, -1.0, 1, -0.5, True, True),
    (1, -0.5, 1, -1.0, False, False),
    (1, -1.0, 1, -1.0, False, False),
    (1, -2.0, 0, -0.1, False, False),
    (0, -0.1, 1, -2.0, True, True),
    (0, -1.0, 0, -0.5, True, False),
    (0, -0.5, 0, -1.0, False, False),
    (0, -math.inf, 0, -9.0, True, False),
    (0, -9.0, 0, -math.inf, False, False),
    (0, -math.inf, 0, -math.inf, False, False),
]


@pytest.mark.parametrize(("b", "r", "refined_b", "refined_r", "paper", "reference"), FILTER_TABLE)
def test_filter_table(
    b: int, r: float, refined_b: int, refined_r: float, paper: bool, reference: bool
) -> None:
    exploration = candidate(outcome="correct" if b else "wrong", reward=r)
    refinement = candidate(outcome="correct" if refined_b else "error", reward=refined_r, stage="refine")
    assert filter_slot(exploration, refinement, "paper") is (refinement if paper else exploration)
    assert filter_slot(exploration, refinement, "reference") is (refinement if reference else exploration)


def test_filter_ignores_what_the_infrastructure_lost() -> None:
    good, bad = candidate(outcome="wrong"), candidate(outcome="infrastructure", reward=0.0, stage="refine")
    assert filter_slot(good, bad) is good
    lost = candidate(outcome="infrastructure")
    refined = candidate(outcome="wrong", stage="refine")
    assert filter_slot(lost, refined) is refined
    assert filter_slot(lost, bad) is None
    assert filter_slot(lost, None) is None
    assert filter_slot(good, None) is good


def test_filter_needs_self_rewards_only_where_verdicts_are_equal() -> None:
    wrong, right = candidate(outcome="wrong", reward=None), candidate(reward=None, stage="refine")
    assert filter_slot(wrong, right) is right
    with pytest.raises(ValueError, match=r"0/refine/0/a: has no self-reward yet"):
        filter_slot(candidate(reward=-1.0), right)


@settings(max_examples=50, deadline=None)
@given(runs(), st.sampled_from(["paper", "reference"]))
def test_keep_is_the_rule_slot_by_slot(run: list[Trajectory], merge: str) -> None:
    config = SelectionConfig(merge=merge)  # type: ignore[arg-type]
    expected = set()
    for one in run:
        other = [
            t
            for t in run
            if (t.iteration, t.task_id, t.k) == (one.iteration, one.task_id, one.k) and t is not one
        ]
        if one.outcome == "infrastructure":
            continue
        rival = other[0] if other and other[0].outcome != "infrastructure" else None
        if rival is None:
            expected.add(one.id)
            continue
        explored, refined = (one, rival) if one.stage == "explore" else (rival, one)
        b, refined_b = explored.outcome == "correct", refined.outcome == "correct"
        higher = reward_of(refined) > reward_of(explored)
        if merge == "paper":
            wins = (refined_b > b) or (refined_b == b and higher)
        else:
            wins = (not b and refined_b) or (b and refined_b and higher)
        expected.add(refined.id if wins else explored.id)
    kept = keep(run, config, seed=0)
    assert {t.id for t in kept} == expected
    assert [(t.iteration, t.task_id, t.k) for t in kept] == sorted(
        [(t.iteration, t.task_id, t.k) for t in kept],
        key=lambda slot: (slot[0], "ba".index(slot[1]), slot[2]),
    )


def test_keep_rejects_impossible_slots() -> None:
    with pytest.raises(ValueError, match="given twice"):
        keep([candidate(), candidate()], SelectionConfig(), seed=0)
    with pytest.raises(ValueError, match="a refinement without its exploration"):
        keep([candidate(stage="refine")], SelectionConfig(), seed=0)


# ---- Pool and selection against the brute force ------------------------------------------------------------


def brute_force(
    kept: list[Trajectory], config: SelectionConfig, iteration: int, questions: dict[str, str]
) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    """The selection by replaying iterations and re-sorting lists, as the released code goes about it."""
    positives: dict[str, list[Trajectory]] = defaultdict(list)
    negatives: dict[str, list[Trajectory]] = defaultdict(list)
    seen: list[tuple[str | None, str]] = []
    tasks: list[str] = []
    for t in kept:
        if t.iteration > iteration or (not config.pool and t.iteration != iteration):
            continue
        if t.outcome == "infrastructure" or t.text == "" or t.self_reward == -math.inf:
            continue
        mark = (None if config.dedup == "global" else t.task_id, t.text)
        if mark in seen and config.dedup != "none":
            continue
        seen.append(mark)
        if t.task_id not in tasks:
            tasks.append(t.task_id)
        quoted = t.iteration >= config.quote_question_iterations or questions[t.task_id] in t.text
        side = positives if t.outcome == "correct" and quoted else negatives
        # Insertion sort: before the first strictly worse one, so that equal ones stay in order of sight.
        row = side[t.task_id]
        place = next((i for i, other in enumerate(row) if reward_of(other) < reward_of(t)), len(row))
        row.insert(place, t)
    singles, pairs = [], []
    for task in tasks:
        p, q = positives[task], negatives[task]
        n, m = len(p), len(q)
        if config.hold_back:
            e = min(config.n1, max(1, n - 1)) if n >= 1 else 0
            r = max(0, min(config.n2, n - e, m))
            singles += [(task, p[i].id) for i in range(e)]
            pairs += [(task, p[e + j].id, q[j].id) for j in range(r)]
        else:
            singles += [(task, t.id) for t in p[: config.n1]]
            pairs += [(task, a.id, b.id) for a, b in zip(p[: config.n2], q[: config.n2], strict=False)]
    return singles, (pairs if config.l2 else [])


def ids(selection: Selection) -> tuple[list[tuple[str, str]], list[tuple[str, str, str]]]:
    return (
        [(e.task_id, e.positive.id) for e in selection.l1],
        [(e.task_id, e.positive.id, e.negative.id) for e in selection.l2],
    )


configs = st.builds(
    SelectionConfig,
    n1=st.integers(1, 4),
    n2=st.integers(0, 3),
    merge=st.sampled_from(["paper", "reference"]),
    pool=st.booleans(),
    l2=st.booleans(),
    hold_back=st.booleans(),
    dedup=st.sampled_from(["task", "global", "none"]),
    quote_question_iterations=st.integers(0, 3),
)
QUESTIONS = {"a": "question a", "b": "question b"}


@settings(max_examples=100, deadline=None)
@given(runs(), configs, st.integers(0, 2))
def test_select_is_the_brute_force(run: list[Trajectory], config: SelectionConfig, iteration: int) -> None:
    kept = keep(run, config, seed=1)
    selection = select(kept, config, iteration=iteration, seed=1, questions=QUESTIONS)
    assert ids(selection) == brute_force(kept, config, iteration, QUESTIONS)
    used = [e.positive for e in selection.l1 + selection.l2] + [e.negative for e in selection.l2]
    assert all(is_usable(t) and t.outcome != "infrastructure" for t in used)
    assert all(e.positive.correct for e in selection.l1 + selection.l2)


@settings(max_examples=50, deadline=None)
@given(runs(), configs, st.integers(0, 2))
def test_random_rank_takes_as_many_and_does_not_depend_on_rewards(
    run: list[Trajectory], config: SelectionConfig, seed: int
) -> None:
    kept = keep(run, config, seed=seed)
    shuffled = SelectionConfig(**{**vars(config), "rank": "random"})
    by_reward = select(kept, config, iteration=2, seed=seed, questions=QUESTIONS)
    at_random = select(kept, shuffled, iteration=2, seed=seed, questions=QUESTIONS)
    assert Counter(e.task_id for e in at_random.l1) == Counter(e.task_id for e in by_reward.l1)
    assert Counter(e.task_id for e in at_random.l2) == Counter(e.task_id for e in by_reward.l2)
    assert at_random == select(kept, shuffled, iteration=2, seed=seed, questions=QUESTIONS)


def test_random_rank_differs_between_seeds_and_iterations() -> None:
    kept = [candidate(k=k, reward=-float(k)) for k in range(30)]
    config = SelectionConfig(rank="random")
    first = ids(select(kept, config, iteration=0, seed=0))
    assert first == ids(select(kept[::-1], config, iteration=0, seed=0))
    assert first != ids(select(kept, config, iteration=0, seed=1))
    assert first != ids(select(kept, config, iteration=1, seed=0))


@pytest.mark.parametrize(
    ("n", "m", "paper", "reference"),
    [
        (0, 5, (0, 0), (0, 0)),
        (1, 0, (1, 0), (1, 0)),
        (1, 5, (1, 1), (1, 0)),
        (2, 5, (2, 2), (1, 1)),
        (5, 0, (5, 0), (4, 0)),
        (11, 5, (10, 2), (10, 1)),
        (12, 1, (10, 1), (10, 1)),
        (12, 5, (10, 2), (10, 2)),
        (50, 50, (10, 2), (10, 2)),
    ],
)
def test_sizes(n: int, m: int, paper: tuple[int, int], reference: tuple[int, int]) -> None:
    positives = [candidate(k=k) for k in range(n)]
    negatives = [candidate(k=100 + k, outcome="wrong") for k in range(m)]
    for config, sizes in ((SelectionConfig(), paper), (REFERENCE, reference)):
        single, pairs = choose(positives, negatives, config)
        assert (len(single), len(pairs)) == sizes
        if config.hold_back:  # Pairs go on where the L1 positives end.
            assert single + [p for p, _ in pairs] == positives[: len(single) + len(pairs)]
        else:
            assert [p for p, _ in pairs] == positives[: len(pairs)]
        assert [q for _, q in pairs] == negatives[: len(pairs)]


def test_duplicates_first_seen_wins_within_a_task_or_across_all() -> None:
    kept = [
        candidate("a", 0, "wrong", -0.1, text="same"),
        candidate("a", 1, "correct", -0.2, text="same"),
        candidate("b", 0, "correct", -0.3, text="same"),
    ]
    pools, counts = build_pools(kept, SelectionConfig(), iteration=0)
    assert counts["duplicates"] == 1 and not pools["a"].positives and len(pools["b"].positives) == 1
    pools, counts = build_pools(kept, SelectionConfig(dedup="global"), iteration=0)
    assert counts["duplicates"] == 2 and list(pools) == ["a"]


def test_positive_that_does_not_quote_its_question_is_a_negative_at_first() -> None:
    kept = [candidate(iteration=i, text=f"program {i}") for i in range(5)]
    kept.append(candidate(k=1, text='"""question a"""'))
    selection = select(kept, REFERENCE, iteration=4, seed=0, questions=QUESTIONS)
    assert (selection.positives, selection.negatives, selection.unquoted) == (3, 3, 3)
    with pytest.raises(ValueError, match="needs the question of a"):
        select(kept, REFERENCE, iteration=4, seed=0)


def test_equal_self_rewards_rank_in_the_order_of_sight() -> None:
    kept = [candidate(k=k, reward=-1.0) for k in (3, 1, 2)]
    assert [e.positive.k for e in select(kept, SelectionConfig(n1=2), iteration=0, seed=0).l1] == [3, 1]


# ---- The control -------------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(runs(), st.integers(0, 30), st.integers(0, 30), st.integers(0, 3))
def test_control_takes_its_budget_of_distinct_candidates(
    run: list[Trajectory], l1: int, l2: int, seed: int
) -> None:
    config = SelectionConfig(filter="none")
    kept = keep(run, config, seed=seed)
    pools, _ = build_pools(kept, config, iteration=2)
    sizes = [len(pool.positives) + len(pool.negatives) for pool in pools.values()]
    selection = select(kept, config, iteration=2, seed=seed, budget=Budget(l1, l2))
    singles, pairs = ids(selection)
    assert len(singles) == len(set(singles)) == min(l1, sum(sizes))
    assert len(pairs) == len(set(pairs)) == min(l2, sum(s * (s - 1) for s in sizes))
    assert all(e.positive is not e.negative for e in selection.l2)
    assert all(e.positive.task_id == e.negative.task_id == e.task_id for e in selection.l2)
    assert all(is_usable(e.positive) for e in selection.l1)


@settings(max_examples=50, deadline=None)
@given(runs(), st.integers(0, 3), st.randoms(use_true_random=False))
def test_control_never_looks_at_a_verdict(run: list[Trajectory], seed: int, shuffler: random.Random) -> None:
    """Other verdicts, same budget: the same candidates."""
    verdicts = [kind for kind in OUTCOMES if kind != "infrastructure"]
    other = [
        t
        if t.outcome == "infrastructure"
        else Trajectory(**{**vars(t), "outcome": shuffler.choice(verdicts)})
        for t in run
    ]
    config, budget = SelectionConfig(filter="none"), Budget(5, 3)
    ours = keep(run, config, seed=seed)
    theirs = keep(other, config, seed=seed)
    assert [t.id for t in ours] == [t.id for t in theirs]
    chosen = [ids(select(kept, config, iteration=2, seed=seed, budget=budget)) for kept in (ours, theirs)]
    assert chosen[0] == chosen[1]


@settings(max_examples=50, deadline=None)
@given(runs(), configs)
def test_control_gets_as_many_as_the_verdicts_would_give(
    run: list[Trajectory], config: SelectionConfig
) -> None:
    by_verdict = select(keep(run, config, seed=0), config, iteration=2, seed=0, questions=QUESTIONS)
    control = SelectionConfig(**{**vars(config), "filter": "none"})
    assert verdict_budget(run, control, iteration=2, questions=QUESTIONS) == Budget(
        len(by_verdict.l1), len(by_verdict.l2)
    )
    kept = keep(run, control, seed=0)
    default = select(kept, control, iteration=2, seed=0, questions=QUESTIONS)
    same_pool = select(kept, config, iteration=2, seed=0, questions=QUESTIONS)
    assert len(default.l1) == len(same_pool.l1) and len(default.l2) == len(same_pool.l2)


def test_control_is_uniform() -> None:
    """Every candidate, and every ordered pair within a task, comes up about equally often (chi-square)."""
    kept = [
        candidate(task, k, "correct" if k == 0 else "wrong")
        for task, n in (("a", 2), ("b", 4))
        for k in range(n)
    ]
    config = SelectionConfig(filter="none")
    singles: Counter = Counter()
    pairs: Counter = Counter()
    for seed in range(2800):
        selection = select(kept, config, iteration=0, seed=seed, budget=Budget(1, 1))
        singles.update(ids(selection)[0])
        pairs.update(ids(selection)[1])
    for counts, cells, limit in ((singles, 6, 20.5), (pairs, 2 + 12, 34.5)):  # p = 0.001 at 5 and 13 degrees.
        assert len(counts) == cells
        expected = 2800 / cells
        assert sum((seen - expected) ** 2 / expected for seen in counts.values()) < limit


# ---- Records and settings ----------------------------------------------------------------------------------


def test_records_name_the_examples() -> None:
    kept = [candidate(k=0), candidate(k=1, outcome="wrong")]
    records = select(kept, SelectionConfig(), iteration=0, seed=0).records()
    assert [(r.kind, r.position, r.positive, r.negative) for r in records] == [
        ("L1", 0, kept[0].id, None),
        ("L2", 0, kept[0].id, kept[1].id),
    ]


@pytest.mark.parametrize(
    ("key", "value"),
    [("n1", 0), ("n2", -1), ("filter", "off"), ("rank", "best"), ("merge", "code"), ("dedup", "all")],
)
def test_settings_that_make_no_sense_are_named(key: str, value: object) -> None:
    config = SelectionConfig()
    object.__setattr__(config, key, value)  # Past the tests' own type checker, as in a real run.
    with pytest.raises(ValueError, match=f"selection.{key} = {value!r}: expected"):
        config.__post_init__()
