"""The memory that this process may use."""

import os
from pathlib import Path

_CONTROL_GROUPS = Path("/sys/fs/cgroup")


def memory_mib() -> int:
    """Memory of this machine in MiB, or of the control groups that this process is in, if that is less."""
    limits = [os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), *_control_groups_limits()]
    return min(limits) >> 20


def _control_groups_limits() -> list[int]:
    """In bytes, as far as they can be read: those of this process's group and of the groups above it.

    A container often has its own group for the root, under which the path of /proc leads nowhere.
    """
    own = {"": "", "memory": ""}  # group by controller; version 2 has one for all
    try:
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            own |= {name: group.strip("/") for name in controllers.split(",") if name in own}
    except OSError:
        pass  # a host without /proc: the roots may still tell
    limits = []
    for controller, name in (("", "memory.max"), ("memory", "memory.limit_in_bytes")):
        root = _CONTROL_GROUPS / controller
        lowest = root / own[controller]
        for folder in (lowest, *(parent for parent in lowest.parents if parent.is_relative_to(root))):
            try:
                text = (folder / name).read_text().strip()
            except OSError:
                continue
            if text.isdigit():  # and not "max"
                limits.append(int(text))
    return limits
