"""What the environment and its workers say to each other: jobs, observations and answers. Plain data."""

from dataclasses import dataclass, field
from typing import Any, Literal

Status = Literal["done", "invalid", "over", "timeout", "infrastructure"]


@dataclass(frozen=True)
class Observation:
    """What a page shows. `lines` is the clean form, one element a line; `html` the markup itself."""

    utterance: str
    lines: tuple[str, ...]
    html: str


@dataclass(frozen=True)
class Job:
    """What one episode is to do. `observe`: describe the page at its end, before it if nothing is done."""

    page: str
    seed: int
    program: str | None = None
    observe: bool = False
    screenshots: bool = False


@dataclass
class Answer:
    """What became of a job; `status` is "done", "invalid", "over", "timeout" or "infrastructure"."""

    status: Status = "done"
    done: bool = False
    reward: float = 0.0
    effects: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    observation: dict[str, Any] | None = None
    screenshots: list[str] = field(default_factory=list)  # PNG in base64: before, after
    seconds: float = 0.0
    refused_requests: int = 0
