"""What every environment shares: the task, the outcome and the protocol.

An environment plays the part of `Env` in the paper (section 2, equation 1): it runs a symbolic solution and
says whether it gives the task's answer. Nothing here knows of models or devices.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType, TracebackType
from typing import Any, Literal, Protocol, Self, get_args, runtime_checkable

OutcomeKind = Literal["correct", "wrong", "error", "timeout", "invalid", "vacuous", "infrastructure"]
OUTCOME_KINDS: tuple[OutcomeKind, ...] = get_args(OutcomeKind)


class EnvironmentFailure(RuntimeError):
    """The environment itself cannot work (no sandbox, no worker starts): never the fault of a program."""


@dataclass(frozen=True)
class Task:
    """One problem `x` with its checkable answer `y`.

    `context` is further text that belongs to the question; `meta` is whatever a data set wants to carry
    along. Raises ValueError for an answer that is neither text nor number, and for a `meta` that is no
    mapping.
    """

    id: str
    question: str
    answer: str | int | float
    context: str = ""
    meta: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))

    def __post_init__(self) -> None:
        if not isinstance(self.answer, (str, int, float)) or self.answer != self.answer:
            raise ValueError(f"task {self.id!r}: answer={self.answer!r} must be a text or a number")
        if not isinstance(self.meta, Mapping):
            raise ValueError(f"task {self.id!r}: meta={self.meta!r:.80} must be a mapping")


MOST_WORKERS = 4096
# What an outcome says of a program that gave an answer which nothing in it bears on, whatever its kind.
VACUOUS = "the program says nothing that its query could depend on"


@dataclass(frozen=True)
class Outcome:
    """What became of one program.

    kind: "correct" or "wrong" (it gave an answer), "error" (it raised, was killed or gave none), "timeout",
        "invalid" (not a program of the expected form), "vacuous" (it gave an answer that nothing in it bears
        on), "infrastructure" (the environment failed twice: no verdict).
    value: the answer it gave, JSON-able; None if there is none.
    output: what it printed, cut to the environment's bound.
    error: one line for a reader, empty if there is nothing to say.
    seconds: wall-clock time of the program alone, without waiting for a worker.
    pictures: PNG files of what was seen before and after, of environments that are asked to take them.
    """

    kind: OutcomeKind
    value: str | int | float | None = None
    output: str = ""
    error: str = ""
    seconds: float = 0.0
    pictures: tuple[bytes, ...] = field(default=(), repr=False)

    @property
    def correct(self) -> bool:
        return self.kind == "correct"


@runtime_checkable
class Environment(Protocol):
    """Runs programs. A context manager: leaving it ends every process it started."""

    @abstractmethod
    def execute(self, programs: Iterable[tuple[Task, str]]) -> Iterator[Outcome]:
        """Yields one outcome per (task, program), in the given order; reads `programs` lazily."""
        ...

    @abstractmethod
    def close(self) -> None: ...

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def checked_entry(entry: Any) -> tuple[Task, str]:
    """What `execute` takes. Raises TypeError for anything else than a pair of a Task and a text."""
    if not (isinstance(entry, tuple) and len(entry) == 2 and isinstance(entry[0], Task)):
        raise TypeError(f"execute takes pairs (envs.Task, program text), got {entry!r:.200}")
    if not isinstance(entry[1], str):
        raise TypeError(
            f"execute takes pairs (envs.Task, program text), got {entry[1]!r:.80} as the program of task "
            f"{entry[0].id}"
        )
    return entry[0], entry[1]
