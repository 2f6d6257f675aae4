"""Whether the browsers that are asked for can be there all at once."""

import os
from pathlib import Path

# Proportional set sizes of a worker with its browser, measured over 2,000 episodes (docs/environments.md):
# what all of them share comes once.
_SHARED_MIB, _WORKER_MIB = 80, 230
_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def check_workers(workers: int, memory_mib: int) -> None:
    """Raises ValueError if so many workers do not fit into the memory."""
    needed = _SHARED_MIB + _WORKER_MIB * workers
    if needed > memory_mib:
        most = (memory_mib - _SHARED_MIB) // _WORKER_MIB
        advice = f"ask for at most {most}" if most > 0 else "not one fits"
        raise ValueError(
            f"workers={workers}: browsers for as many take about {_SHARED_MIB} + {workers} x {_WORKER_MIB} = "
            f"{needed:,} MiB, and this machine has {memory_mib:,} MiB: {advice}"
        )


def memory_mib() -> int:
    """Memory of this machine in MiB, or of the control group that this process is in, if that has less."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_control_groups_limits()]
    return min(limits) >> 20


def _control_groups_limits() -> list[int]:
    """In bytes: of this process's group and of those above it (cgroup v2), as far as they can be read."""
    limits = []
    try:
        lines = Path("/proc/self/cgroup").read_text().splitlines()
    except OSError:  # a host without /proc
        lines = []
    for group in (line[3:].strip("/") for line in lines if line.startswith("0::")):
        for folder in (_CONTROL_GROUPS / group, *(_CONTROL_GROUPS / group).parents):
            try:
                text = (folder / "memory.max").read_text().strip()
            except OSError:
                continue
            if text.isdigit():  # and not "max"
                limits.append(int(text))
    return limits
