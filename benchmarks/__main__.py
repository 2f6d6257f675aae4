"""All workloads, one after the other."""

from benchmarks.runner import WORKLOADS, main

if __name__ == "__main__":
    main(WORKLOADS)
