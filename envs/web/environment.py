"""The web environment: programs of browser actions, run on MiniWoB++'s pages in a real Chromium.

    with envs.make("web", workers=2) as web:
        task = web.task("click-test", seed=7)
        [outcome] = web.execute([(task, 'agent.click_xpath("//button")')])

A task is a page and an integer seed, which give the same utterance and the same page always, and its program
is run on it from the start to the end without a further look (open loop, as in the paper). It is right if
MiniWoB++'s raw reward is 1. For a closed loop, `look` says what the page shows after a program. See
`envs.web.language` for what a program may say.
"""

import base64
import logging
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from typing import Any, Literal

from envs.base import MOST_WORKERS, Environment, EnvironmentFailure, Outcome, OutcomeKind, Task, checked_entry
from envs.memory import memory_mib
from envs.pool import Pool
from envs.web.chromium import find_chromium
from envs.web.episodes import Job, Observation
from envs.web.memory import check_workers
from envs.web.pages import Pages
from envs.web.settings import WebSettings

_LOG = logging.getLogger(__name__)
_LAUNCHER = "envs.web.worker"
# Two runs of an episode, each with its start of a browser, and their own grace.
_SILENCE_S = 240.0
_LOOK_AHEAD_PER_WORKER = 4
_ERROR_LIMIT = 500
_LEFT_OUT = " …; "


class WebPool(Pool):
    """Workers with a browser each."""

    def __init__(self, size: int, settings: WebSettings) -> None:
        self._warned = False
        super().__init__(size, _LAUNCHER, settings.to_json(), 2 * settings.time_limit_s + _SILENCE_S)

    def _greeted(self, message: dict[str, Any]) -> None:
        if message["shared"] and not self._warned:
            self._warned = True
            _LOG.warning(
                "browsers share the network of this host (%s); their requests are still refused",
                message["shared"],
            )


class WebEnvironment(Environment):
    """Runs web programs in `workers` processes, each with a browser of its own.

    time_limit_s: wall-clock seconds an episode gets (at most 3600).
    success: the raw reward that counts as solved: "one", or "above_0.8", the authors' rule.
    observation: what a task's question shows of the page: "dom", the clean form, or "html", the markup as the
        authors used it.
    most_characters: of that; what is longer is cut at the end of a line, and says so.
    chromium: the executable to drive; "" finds it.
    pages: a folder of pages instead of the wheel's (see `envs.web.pages.Pages`).
    mode: MiniWoB++'s distribution of problems.
    recycle_after: episodes after which a browser is replaced.
    """

    def __init__(
        self,
        workers: int = 2,
        time_limit_s: float = 10.0,
        success: Literal["one", "above_0.8"] = "one",
        observation: Literal["dom", "html"] = "dom",
        most_characters: int = 20_000,
        chromium: str = "",
        pages: str = "",
        mode: Literal["train", "test"] = "train",
        recycle_after: int = 1000,
    ) -> None:
        for name, number, least, most in (
            ("workers", workers, 1, MOST_WORKERS),
            ("most_characters", most_characters, 100, 1 << 24),
            ("recycle_after", recycle_after, 1, 1 << 30),
        ):
            if type(number) is not int or not least <= number <= most:
                raise ValueError(f"{name} must be a whole number from {least} to {most}, not {number!r}")
        if type(time_limit_s) not in (int, float) or not 0 < time_limit_s <= 3600:
            raise ValueError(f"time_limit_s must be a number of seconds in (0, 3600], not {time_limit_s!r}")
        for name, word, choices in (
            ("success", success, ("one", "above_0.8")),
            ("observation", observation, ("dom", "html")),
            ("mode", mode, ("train", "test")),
        ):
            if word not in choices:
                raise ValueError(f"{name} must be one of {', '.join(choices)}, not {word!r}")
        check_workers(workers, memory_mib())
        self._success, self._observation, self._most_characters = success, observation, most_characters
        self._look_ahead = _LOOK_AHEAD_PER_WORKER * workers
        self.pages = Pages(pages)
        settings = WebSettings(
            executable=find_chromium(chromium),
            pages=str(self.pages.folder),
            mode=mode,
            time_limit_s=time_limit_s,
            recycle_after=recycle_after,
            shows_utterance=observation == "html",
        )
        self._pool = WebPool(workers, settings)

    def task(self, page: str, seed: int) -> Task:
        """The task of one page and seed, its question being what the page shows.

        Raises ValueError for an unknown page or a seed that is no integer.
        """
        return next(self.tasks([(page, seed)]))

    def tasks(self, instances: Iterable[tuple[str, int]]) -> Iterator[Task]:
        """`task` for many (page, seed), in order, on all workers. Raises as `task` does."""
        jobs = (self._observing(*_checked_instance(instance)) for instance in instances)
        for job, answer in self._run(jobs):
            yield self._task(job, answer)

    def execute(self, programs: Iterable[tuple[Task, str]]) -> Iterator[Outcome]:
        """One outcome per (task, program), in order. Reads at most 4 programs per worker ahead.

        Raises TypeError for anything else than a Task and a text, ValueError for a task that names no page.
        """
        return self._play(programs, screenshots=False)

    def look(self, programs: Iterable[tuple[Task, str]]) -> Iterator[Observation | None]:
        """What the page shows after each program, in order.

        None if its episode is over or out of time, or if it is no program. The episode is played from its
        beginning, which gives the same page always. Raises as `execute` does, and EnvironmentFailure where
        the browser, and not the program, failed: that says nothing of an episode.
        """
        entries = (checked_entry(entry) for entry in programs)
        jobs = (replace(self._playing(task, program, False), observe=True) for task, program in entries)
        for job, answer in self._run(jobs):
            if answer["status"] == "infrastructure":
                raise EnvironmentFailure(f"{_name(job)} could not be looked at: {_reason(answer)}")
            ended = answer["status"] != "done" or answer["done"]
            yield None if ended else Observation(**answer["observation"])

    def with_screenshots(self) -> "WithScreenshots":
        """The same environment, whose outcomes have a picture of the page before and after.

        It works as long as this one does; closing it does nothing.
        """
        return WithScreenshots(self)

    def processes(self) -> list[int]:
        """Process ids of the workers, for monitoring."""
        return self._pool.processes()

    def close(self) -> None:
        self._pool.close()

    def _play(self, programs: Iterable[tuple[Task, str]], screenshots: bool) -> Iterator[Outcome]:
        jobs = (self._playing(*checked_entry(entry), screenshots) for entry in programs)
        for _, answer in self._run(jobs):
            yield self._outcome(answer)

    # --- Jobs ------------------------------------------------------------------------------------

    def _observing(self, page: str, seed: int) -> Job:
        self._check(page, seed)
        return Job(page, seed, observe=True)

    def _playing(self, task: Task, program: str, screenshots: bool) -> Job:
        page, seed = task.meta.get("page"), task.meta.get("seed")
        if not isinstance(page, str) or type(seed) is not int:
            raise ValueError(f"task {task.id} is none of the web environment's: it names no page and seed")
        self._check(page, seed)
        return Job(page, seed, program=program, screenshots=screenshots)

    def _check(self, page: str, seed: int) -> None:
        """Refuses what no worker should see."""
        self.pages.path(page)
        if type(seed) is not int or not -(2**53) < seed < 2**53:
            raise ValueError(f"{page}: a seed is a whole number below 2^53, not {seed!r:.80}")

    def _run(self, jobs: Iterator[Job]) -> Iterator[tuple[Job, dict[str, Any]]]:
        """Each job with its answer, in order."""
        return self._pool.in_order(((job, asdict(job)) for job in jobs), self._look_ahead)

    # --- Answers ---------------------------------------------------------------------------------

    def _task(self, job: Job, answer: dict[str, Any]) -> Task:
        if answer.get("observation") is None:
            raise EnvironmentFailure(f"{_name(job)} could not be observed: {_reason(answer)}")
        seen = Observation(**answer["observation"])
        return Task(
            id=_name(job),
            question=self.question(seen),
            answer=1,
            meta={"page": job.page, "seed": job.seed, "utterance": seen.utterance, "html": seen.html},
        )

    def question(self, seen: Observation) -> str:
        """What a page shows as text: its lines, and a last one that says what to do there.

        A small model needs what it is asked for next to its answer (measured, docs/environments.md).
        """
        lines = seen.lines if self._observation == "dom" else seen.html.split("\n")
        return f"{_cut(lines, self._most_characters)}\nTask: {seen.utterance}"

    def _outcome(self, answer: dict[str, Any]) -> Outcome:
        status, seconds = answer["status"], answer["seconds"]
        if status == "infrastructure" and "notes" not in answer:  # the worker died twice
            return Outcome("infrastructure", None, "", "the browser's worker died twice", seconds)
        notes = answer["notes"]
        if status == "done" and not answer["done"]:
            notes = [*notes, "the episode was not over at the program's end"]
        kind: OutcomeKind = "wrong"
        if answer["done"] and status != "infrastructure":
            reward = answer["reward"]
            solved = reward == 1 if self._success == "one" else reward > 0.8
            kind = "correct" if solved else "wrong"
        elif status in ("invalid", "timeout", "infrastructure"):
            kind = status
        elif status == "over":
            kind = "error"
        value = answer["reward"] if answer["done"] else None
        pictures = tuple(map(base64.b64decode, answer["screenshots"]))
        effects = "\n".join(answer["effects"])
        return Outcome(kind, value, _legible(effects), _legible(_told(notes)), seconds, pictures)


class WithScreenshots(Environment):
    """A `WebEnvironment` whose outcomes have pictures. See `WebEnvironment.with_screenshots`."""

    def __init__(self, environment: WebEnvironment) -> None:
        self._environment = environment

    def execute(self, programs: Iterable[tuple[Task, str]]) -> Iterator[Outcome]:
        """As `WebEnvironment.execute`."""
        return self._environment._play(programs, screenshots=True)

    def close(self) -> None:
        """Nothing: the browsers are the environment's."""


def _checked_instance(instance: Any) -> tuple[Any, Any]:
    if not isinstance(instance, tuple | list) or len(instance) != 2:
        raise ValueError(f"tasks takes pairs (page, seed), not {instance!r:.80}")
    return instance[0], instance[1]


def _name(job: Job) -> str:
    return f"{job.page}/{job.seed}"


def _reason(answer: dict[str, Any]) -> str:
    """Why a job came to nothing; a worker that died twice left no notes."""
    return "; ".join(answer.get("notes", ())) or answer["status"]


def _legible(text: str) -> str:
    """`text` with halves of surrogate pairs, which programs can ask for and no file can hold, spelled out."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _told(notes: list[str]) -> str:
    """The notes in one line: of many the first ones and the last, which may say how the episode ended."""
    if not notes:
        return ""
    counts = Counter(" ".join(note.split()) for note in reversed(notes))  # the last one first
    *others, last = (
        f"{note} ({count} times)" if count > 1 else note for note, count in reversed(counts.items())
    )
    most = _ERROR_LIMIT // 2 if others else _ERROR_LIMIT
    if len(last) > most:
        last = last[: most - 1] + "…"
    room = _ERROR_LIMIT - len(last)
    before = "".join(f"{note}; " for note in others)
    if len(before) > room:
        before = before[: room - len(_LEFT_OUT)] + _LEFT_OUT
    return before + last


def _cut(lines: Iterable[str], most: int) -> str:
    """As many whole lines as `most` characters hold; a last line says how many are left out."""
    kept: list[str] = []
    size, rest = 0, 0
    for line in lines:
        size += len(line) + 1
        if size <= most and not rest:
            kept.append(line)
        else:
            rest += 1
    return "\n".join([*kept, f"… {rest} more lines"] if rest else kept)
