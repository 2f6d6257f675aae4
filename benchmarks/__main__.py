"""All workloads, one after the other."""

from benchmarks.runner import WORKLOADS, main
from envisions_jax.memory import restart_with_huge_pages

if __name__ == "__main__":
    restart_with_huge_pages()
    main(WORKLOADS)
