"""The tasks of a run by iteration: always the same ones (the paper's), or new ones each time (the web's, and
generated ones if asked for).

The paper's web tasks are pages with a seed, and every iteration has seeds of its own; so what was explored
before stays in the training set, but is not tried again.
"""

import itertools
from bisect import bisect_left
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from envisions_jax.demonstrations import Demonstration
from envisions_jax.tokenizer import Tokenizer
from envs import Task
from envs.web.demonstrations import DEMONSTRATIONS
from envs.web.environment import WebEnvironment
from envs.web.episodes import Observation
from envs.web.language import NEXT_TURN, ProgramError, read_program, split_turns
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


@dataclass(frozen=True)
class NewTasks:
    """Other tasks in every iteration: of each data set as many as there are for one.

    sets: the tasks of all iterations, by data set.
    """

    sets: Sequence[Sequence[Task]]
    iterations: int

    def explored(self, iteration: int) -> Sequence[Task]:
        return self._those_of(iteration, iteration + 1)

    def known(self, iteration: int) -> Sequence[Task]:
        return self._those_of(0, iteration + 1)

    def _those_of(self, first: int, end: int) -> list[Task]:
        sizes = (len(tasks) // self.iterations for tasks in self.sets)
        return [
            task
            for tasks, size in zip(self.sets, sizes, strict=True)
            for task in tasks[first * size : end * size]
        ]


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

    def go_on(self, programs: Sequence[tuple[Task, str]]) -> list[Task | None]:
        """Each task as it stands after a program: the page as it is then, and what was done so far.

        None where there is no next turn: the episode is over, or the program's last turn does nothing.
        """
        acting = [_acts(split_turns(program)[-1]) for _, program in programs]
        seen = self._environment.look(itertools.compress(programs, acting))
        return [
            self._standing(*entry, now) if acts and (now := next(seen)) is not None else None
            for entry, acts in zip(programs, acting, strict=True)
        ]

    def _standing(self, task: Task, program: str, now: Observation) -> Task:
        done = [line for line in program.split("\n") if line.strip() not in ("", NEXT_TURN)]
        shown = self._most_lines(
            len(done), lambda count: _last_lines(done, count), most_tokens=self._most_tokens // 2
        )
        *page, asked = self._environment.question(now).split("\n")
        return replace(task, question=self._fit(page, [asked, "Done so far:", *_last_lines(done, shown)]))

    def _fitting(self, task: Task) -> Task:
        """With as many whole lines of its page as fit into the tokens allowed; the utterance always."""
        *page, asked = task.question.split("\n")
        return replace(task, question=self._fit(page, [asked]))

    def _fit(self, page: Sequence[str], end: Sequence[str]) -> str:
        """As many first lines of `page` as the tokens allow, and all of `end`."""
        count = self._most_lines(
            len(page), lambda count: [*_first_lines(page, count), *end], most_tokens=self._most_tokens
        )
        return "\n".join([*_first_lines(page, count), *end])

    def _most_lines(self, count: int, shown: Callable[[int], list[str]], most_tokens: int) -> int:
        """The most lines, of `count`, that may be shown; as text they are `shown` of their number."""

        def is_too_long(lines: int) -> bool:
            return len(self._tokenizer.encode("\n".join(shown(lines)), bos=False)) > most_tokens

        if not is_too_long(count):
            return count
        return max(0, bisect_left(range(count), True, key=is_too_long) - 1)


def _first_lines(lines: Sequence[str], count: int) -> list[str]:
    rest = len(lines) - count
    return [*lines[:count], f"… {rest} more lines"] if rest else list(lines)


def _last_lines(lines: Sequence[str], count: int) -> list[str]:
    rest = len(lines) - count
    return [f"… {rest} earlier lines", *lines[rest:]] if rest else list(lines)


def _acts(turn: str) -> bool:
    try:
        return bool(read_program(turn))
    except ProgramError:
        return False


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
