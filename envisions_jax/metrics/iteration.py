"""All numbers of one iteration in one record, computed from the store's trajectories alone."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field

from envisions_jax.metrics.learning import (
    distinct_correct,
    exploratory_ability,
    learning_counts,
    log_prob_margin,
    mean_pass_at_k,
    refinement_rates,
    solved_tasks,
    stability,
)
from envisions_jax.metrics.scores import Scores
from envisions_jax.store.records import OUTCOMES, Trajectory


@dataclass(frozen=True, kw_only=True)
class IterationMetrics:
    """What `metrics.jsonl` says of an iteration; None where a number is undefined.

    Attributes:
      tasks: tasks that were tried.
      solved_by_exploration, solved: tasks solved before and after refinement; `solved` is |S|.
      earlier, old, new: |H|, |O|, |N|. `ea`, `stb`: EA and STB over the iterations so far; undefined where
        every iteration has tasks of its own, as the web has.
      margin: mean self-reward of positives minus negatives, of what the filter kept in this iteration.
      positives, negatives: right and wrong trajectories that the filter kept in this iteration.
      distinct_correct: different correct programs found so far.
      pass_at_k: by k, of this iteration's explorations.
      repair_rate, break_rate: how often a refinement repairs a wrong, and breaks a right exploration.
      explore_outcomes, refine_outcomes: number of candidates by outcome.
      l1_examples, l2_examples: examples selected to train on.
      demonstrations: gold programs of the cold start that were trained on beside those.
      shortened, dropped: examples that were cut to `train.max_length`, or left out: their prompt fills it.
      accuracy: by test set, of the policy trained in this iteration.
      accuracy_by_label, vacuous: of sets that have labels, see `metrics.scores`.
    """

    iteration: int
    tasks: int
    solved_by_exploration: int
    solved: int
    earlier: int
    old: int
    new: int
    ea: float | None
    stb: float | None
    margin: float | None
    positives: int
    negatives: int
    distinct_correct: int
    pass_at_k: Mapping[str, float | None]
    repair_rate: float | None
    break_rate: float | None
    explore_outcomes: Mapping[str, int]
    refine_outcomes: Mapping[str, int]
    l1_examples: int = 0
    l2_examples: int = 0
    shortened: int = 0
    dropped: int = 0
    demonstrations: int = 0
    accuracy: Mapping[str, float | None] = field(default_factory=dict)
    accuracy_by_label: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    vacuous: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def iteration_metrics(
    trajectories: Sequence[Trajectory],
    kept: Sequence[Trajectory],
    *,
    iteration: int,
    l1_examples: int = 0,
    l2_examples: int = 0,
    shortened: int = 0,
    dropped: int = 0,
    demonstrations: int = 0,
    scores: Scores | None = None,
) -> IterationMetrics:
    """The numbers of `iteration` from all trajectories so far (`store.trajectories(up_to=iteration,
    tokens=False)`) and what the filter kept in this iteration (`store.kept(iteration)`)."""
    past = [t for t in trajectories if t.iteration <= iteration]
    current = [t for t in past if t.iteration == iteration]
    explored = [t for t in current if t.stage == "explore"]
    # Solved sets of every iteration from the first, so that EA and STB are the same however often a run
    # stopped.
    by_iteration: dict[int, list[Trajectory]] = {number: [] for number in range(iteration + 1)}
    for trajectory in past:
        by_iteration[trajectory.iteration].append(trajectory)
    counts = learning_counts([solved_tasks(group) for group in by_iteration.values()])
    tried = [{t.task_id for t in group} for group in by_iteration.values()]
    comparable = len(set().union(*tried)) < sum(map(len, tried))  # some task was tried in two iterations
    rates = refinement_rates(current)
    scores = scores or Scores(accuracy={})
    return IterationMetrics(
        iteration=iteration,
        tasks=len({t.task_id for t in current}),
        solved_by_exploration=len(solved_tasks(explored)),
        solved=counts[-1].solved,
        earlier=counts[-1].earlier,
        old=counts[-1].old,
        new=counts[-1].new,
        ea=exploratory_ability(counts) if comparable else None,
        stb=stability(counts) if comparable else None,
        margin=log_prob_margin(kept),
        positives=sum(t.correct for t in kept),
        negatives=sum(not t.correct for t in kept),
        distinct_correct=distinct_correct(past),
        pass_at_k={str(k): mean_pass_at_k(explored, k) for k in range(1, _candidates(explored) + 1)},
        repair_rate=rates.repair,
        break_rate=rates.break_,
        explore_outcomes=_outcomes(explored),
        refine_outcomes=_outcomes([t for t in current if t.stage == "refine"]),
        l1_examples=l1_examples,
        l2_examples=l2_examples,
        shortened=shortened,
        dropped=dropped,
        demonstrations=demonstrations,
        accuracy=scores.accuracy,
        accuracy_by_label=scores.accuracy_by_label,
        vacuous=scores.vacuous,
    )


def _candidates(explored: Sequence[Trajectory]) -> int:
    """K: the most candidates that any task has."""
    return max(Counter(t.task_id for t in explored).values(), default=0)


def _outcomes(trajectories: Sequence[Trajectory]) -> dict[str, int]:
    counts = Counter(t.outcome for t in trajectories)
    return {kind: counts[kind] for kind in OUTCOMES}  # type: ignore[index]
