"""What a policy's answers to its test sets are worth; by label too, where a set's answers are a few labels.

On a set of three labels a policy that says nothing, or always the same, is right a third of the time: its
accuracy by label shows that, and so does the number of vacuous programs, which are not counted as right
unless `logic.vacuous` is "by_answer".
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import NamedTuple

from envisions_jax.metrics.learning import accuracy
from envs.base import VACUOUS

MOST_LABELS = 5


class Judged(NamedTuple):
    """A task's answer, and the kind of outcome of the program for it with what the environment said."""

    answer: str | int | float
    kind: str
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """By test set: accuracy; accuracy by label and vacuous programs, of the sets that have labels alone."""

    accuracy: Mapping[str, float | None]
    accuracy_by_label: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    vacuous: Mapping[str, int] = field(default_factory=dict)

    def to_dict(self) -> dict[str, object]:
        return asdict(self)


def scores(judged: Mapping[str, Sequence[Judged]]) -> Scores:
    """The scores of what was judged, by test set."""
    labelled = {name: labels for name, group in judged.items() if (labels := labels_of(group))}
    return Scores(
        accuracy={name: accuracy(one.kind for one in group) for name, group in judged.items()},
        accuracy_by_label={
            name: {
                label: accuracy(one.kind for one in judged[name] if one.answer == label) for label in labels
            }
            for name, labels in labelled.items()
        },
        vacuous={name: sum(one.error == VACUOUS for one in judged[name]) for name in labelled},
    )


def labels_of(judged: Iterable[Judged]) -> list[str]:
    """The labels of a set, sorted; none if its answers are numbers or more than a few different texts."""
    answers = {one.answer for one in judged}
    labels = sorted(answer for answer in answers if isinstance(answer, str))
    return labels if len(labels) == len(answers) <= MOST_LABELS else []
