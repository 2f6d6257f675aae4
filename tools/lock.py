"""The lock files: exact versions of everything that is installed, without addresses or hashes.

    python tools/lock.py write requirements.lock    from the interpreter it runs in
    python tools/lock.py check requirements.lock    does that interpreter have exactly these?

``make lock`` runs the first in a clean virtual environment; ``make test`` runs the second.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

# The project itself, and what a virtual environment is born with.
NOT_LOCKED = frozenset({"envisions-jax", "pip", "setuptools", "wheel"})

HEADER = "# Exact versions, made by `make lock` on Python {0}.{1}. Do not edit.\n"


def canonical(name: str) -> str:
    """A distribution's name as indices compare it: ``Typing_Extensions`` -> ``typing-extensions``."""
    return re.sub(r"[-_.]+", "-", name).lower()


def public(version: str) -> str:
    """A version without its local part: a CPU build ``2.13.0+cpu`` is locked, and compared, as ``2.13.0``."""
    return version.split("+", 1)[0]


def installed() -> dict[str, str]:
    """Name -> version of every distribution of the running interpreter, as a lock file would have it."""
    found = {canonical(dist.name): public(dist.version) for dist in metadata.distributions()}
    return {name: found[name] for name in sorted(found) if name not in NOT_LOCKED}


def read(path: Path) -> dict[str, str]:
    """Name -> version from a lock file.

    Raises:
        ValueError: a line is not ``name==version``; the message names file and line.
    """
    locked: dict[str, str] = {}
    for number, line in enumerate(path.read_text().splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.!]+)", line)
        if match is None:
            raise ValueError(f"{path}:{number}: expected name==version, got {line!r}")
        locked[canonical(match[1])] = match[2]
    return locked


def differences(locked: Mapping[str, str], present: Mapping[str, str]) -> list[str]:
    """One sentence for each locked distribution that is absent or of another version.

    Distributions beyond the lock (an extra, an editor's tool) are nobody's business.
    """
    return [
        f"{name}: locked {version}, {'installed ' + present[name] if name in present else 'not installed'}"
        for name, version in locked.items()
        if present.get(name) != version
    ]


def main(arguments: list[str]) -> int:
    """Exit code 0 when done or equal, 1 when something differs, 2 when called wrongly."""
    if len(arguments) != 2 or arguments[0] not in ("write", "check"):
        print(__doc__, file=sys.stderr)
        return 2
    path = Path(arguments[1])
    if arguments[0] == "write":
        lines = [f"{name}=={version}\n" for name, version in installed().items()]
        path.write_text(HEADER.format(*sys.version_info) + "".join(lines))
        return 0
    wrong = differences(read(path), installed())
    if wrong:
        print(f"{path} does not match this environment:", *wrong, sep="\n  ", file=sys.stderr)
        print("Run `make setup-dev`, or `make lock` if pyproject.toml changed.", file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
