"""What a sandbox worker is told when it starts, and the layers it can be built of."""

import json
from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from typing import Literal, Self, get_args

from envs.base import MOST_WORKERS

Protection = Literal["full", "best", "none"]
PROTECTIONS: tuple[Protection, ...] = get_args(Protection)

# What each layer is for; the README's and the log's words.
LAYERS = {
    "no_new_privs": "no way back to privileges",
    "unprivileged": "no capability, and not root where Python can be read without",
    "seccomp": "no sockets, processes, signals to others, or writing",
    "landlock": "no file but Python's own",
    "private_root": "the host's files do not exist",
    "namespaces": "own network, processes, IPC, host name",
}


@dataclass(frozen=True)
class SandboxSettings:
    """One worker's orders, passed as JSON on its command line.

    action: "module:function" that every child runs; it takes and returns a JSON object.
    preload: modules imported once, before any job.
    protection: "full" refuses to start without what `missing_for_full` names; "best" takes what there is;
        "none" only limits time, memory and output: for programs one trusts.
    without: layers left out although the host may have them.
    """

    action: str
    preload: tuple[str, ...]
    time_limit_s: float
    memory_limit_mb: int
    output_limit: int
    protection: Protection
    without: tuple[str, ...] = ()

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        fields = json.loads(text)
        return cls(**{**fields, "preload": tuple(fields["preload"]), "without": tuple(fields["without"])})


def missing_for_full(layers: Collection[str]) -> list[str]:
    """Which necessary protections `layers` lacks; empty if it may be called full.

    Files are safe behind Landlock or in a private root; either will do. Namespaces are a second wall behind
    seccomp.
    """
    missing = [layer for layer in ("no_new_privs", "unprivileged", "seccomp") if layer not in layers]
    if "landlock" not in layers and "private_root" not in layers:
        missing.append("landlock or private_root")
    return missing


def check_options(
    workers: int, time_limit_s: float, memory_limit_mb: int, sandbox: str, without: Sequence[str] = ()
) -> None:
    """What sandboxed environments have in common. Raises ValueError, which names the option."""
    for name, number, least, most in (
        ("workers", workers, 1, MOST_WORKERS),
        ("memory_limit_mb", memory_limit_mb, 16, 1 << 20),
    ):
        if not isinstance(number, int) or not least <= number <= most:
            raise ValueError(f"{name} must be a whole number from {least} to {most}, not {number!r}")
    if not isinstance(time_limit_s, int | float) or not 0 < time_limit_s <= 3600:
        raise ValueError(f"time_limit_s must be a number of seconds in (0, 3600], not {time_limit_s!r}")
    if sandbox not in PROTECTIONS:
        raise ValueError(f"sandbox must be one of {', '.join(PROTECTIONS)}, not {sandbox!r}")
    if unknown := set(without) - set(LAYERS):
        raise ValueError(f"without names no sandbox layer: {sorted(unknown)}; layers are {', '.join(LAYERS)}")
