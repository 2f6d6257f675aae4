"""All workloads, one after the other: the same as `python -m benchmarks`."""

from benchmarks.runner import WORKLOADS, main

if __name__ == "__main__":
    main(WORKLOADS)
