"""Whether the browsers that are asked for can be there all at once."""

# Proportional set sizes of a worker with its browser, measured over 2,000 episodes (docs/environments.md):
# what all of them share comes once.
_SHARED_MIB, _WORKER_MIB = 80, 230


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
