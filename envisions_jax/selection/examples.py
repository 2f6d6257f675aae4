"""What a selection is made of: L1 and L2 examples and their counts."""

from dataclasses import dataclass

from envisions_jax.store.records import SelectedExample, Trajectory


@dataclass(frozen=True)
class L1Example:
    """Train π(positive | task)."""

    task_id: str
    positive: Trajectory


@dataclass(frozen=True)
class L2Example:
    """Train π(positive | task, negative): the refinement prompt holds the negative."""

    task_id: str
    positive: Trajectory
    negative: Trajectory


@dataclass(frozen=True)
class Budget:
    """How many examples of each kind the control may take."""

    l1: int
    l2: int


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The training set of an iteration, and what it was chosen from (counts over the whole pool)."""

    iteration: int
    l1: tuple[L1Example, ...]
    l2: tuple[L2Example, ...]
    positives: int = 0
    negatives: int = 0
    duplicates: int = 0
    unusable: int = 0
    unquoted: int = 0

    def records(self) -> list[SelectedExample]:
        """For `TrajectoryStore.record_selected`."""
        single = [
            SelectedExample(
                iteration=self.iteration, kind="L1", position=i, task_id=e.task_id, positive=e.positive.id
            )
            for i, e in enumerate(self.l1)
        ]
        pairs = [
            SelectedExample(
                iteration=self.iteration,
                kind="L2",
                position=i,
                task_id=e.task_id,
                positive=e.positive.id,
                negative=e.negative.id,
            )
            for i, e in enumerate(self.l2)
        ]
        return single + pairs
