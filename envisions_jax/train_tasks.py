"""The tasks of a run by iteration: always the same ones (mathematics), or new ones each time (the web).

The paper's web tasks are pages with a seed, and every iteration has seeds of its own; so what was explored
before stays in the training set, but is not tried again.
"""

from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from envisions_jax.demonstrations import Demonstration
from envisions_jax.tokenizer import Tokenizer
from envs import Task
from envs.web.demonstrations import DEMONSTRATIONS
from envs.web.environment import WebEnvironment
from envs.web.pages import TEST_SEEDS, training_seeds


@runtime_checkable
class TrainTasks(Protocol):
    """Which tasks a run trains on."""

    def explored(self, iteration: int) -> Sequence[Task]:
        """Those that are explored in `iteration`."""
        ...

    def known(self, iteration: int) -> Sequence[Task]:
        """All that have been explored up to `iteration`: examples are made of these."""
        ...


@dataclass(frozen=True)
class SameTasks:
    """The same tasks in every iteration."""

    tasks: Sequence[Task]

    def explored(self, iteration: int) -> Sequence[Task]:
        return self.tasks

    def known(self, iteration: int) -> Sequence[Task]:
        return self.tasks


class WebPages:
    """Pages as the tasks and demonstrations of a run.

    most_tokens: of what a task shows; lines beyond are left out, and a last line says how many.
    """

    def __init__(self, environment: WebEnvironment, tokenizer: Tokenizer, most_tokens: int) -> None:
        self._environment, self._tokenizer, self._most_tokens = environment, tokenizer, most_tokens

    def tasks(self, pages: Sequence[str], seeds: Sequence[int]) -> list[Task]:
        """The tasks of each page with each seed, page by page."""
        instances = [(page, seed) for page in pages for seed in seeds]
        return [self._fitting(task) for task in self._environment.tasks(instances)]

    def test_sets(self, pages: Sequence[str], size: int = 0) -> dict[str, list[Task]]:
        """The first `size` test seeds (0: all 30) of each page, a test set of its own."""
        seeds = TEST_SEEDS[: size or None]
        tasks = self.tasks(pages, seeds)
        return {page: tasks[i * len(seeds) : (i + 1) * len(seeds)] for i, page in enumerate(pages)}

    def demonstrations(self, pages: Iterable[str]) -> dict[str, list[Demonstration]]:
        """The solved example of each page, by page, seen as tasks are."""
        shown = [DEMONSTRATIONS[page] for page in dict.fromkeys(pages)]
        seen = self._environment.tasks((one.page, one.seed) for one in shown)
        return {
            one.page: [Demonstration(self._fitting(task).question, 1, {"web": one.program})]
            for one, task in zip(shown, seen, strict=True)
        }

    def _fitting(self, task: Task) -> Task:
        """With as many whole lines of its page as fit into the tokens allowed; the utterance always."""
        lines = task.question.split("\n")

        def with_lines(count: int) -> str:
            rest = len(lines) - count
            return "\n".join([*lines[:count], f"… {rest} more lines"] if rest else lines)

        def is_too_long(count: int) -> bool:
            return len(self._tokenizer.encode(with_lines(count), bos=False)) > self._most_tokens

        if not is_too_long(len(lines)):
            return task
        most = bisect_left(range(1, len(lines)), True, key=is_too_long)  # of lines below the utterance
        return replace(task, question=with_lines(max(1, most)))


class WebTasks:
    """New seeds of the same pages in every iteration, observed when they are first asked for.

    seeds: of each page in an iteration.
    """

    def __init__(self, web: WebPages, pages: Sequence[str], seeds: int) -> None:
        self._web, self._pages, self._seeds = web, pages, seeds
        self._explored: dict[int, list[Task]] = {}

    def explored(self, iteration: int) -> Sequence[Task]:
        if iteration not in self._explored:
            seeds = training_seeds(iteration, self._seeds)
            self._explored[iteration] = self._web.tasks(self._pages, seeds)
        return self._explored[iteration]

    def known(self, iteration: int) -> Sequence[Task]:
        return [task for earlier in range(iteration + 1) for task in self.explored(earlier)]
