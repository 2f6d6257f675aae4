"""Episodes a second: our web environment beside the official `miniwob` package and BrowserGym.

Three of MiniWoB++'s pages, the same seeds and the same actions, one worker and one browser each, every
episode solved. The peers look at the page after the start and after every action, which they cannot do
without; ours looks when it is asked for a task, not when it runs a program on one, and so it is measured both
ways. BrowserGym comes with delays, and is measured without them too.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks.measure import BenchmarkError, Case, Side, Work, interleave
from benchmarks.runner import Bench, main
from benchmarks.web_peers.play import PAGES, Step, steps
from envs import Task
from envs.web.chromium import find_chromium
from envs.web.environment import WebEnvironment

TITLE = "Web: episodes a second, one browser each"
# And how many times as fast we promise to be.
PEERS: dict[str, float | None] = {"miniwob": 4.0, "browsergym": 20.0, "browsergym-undelayed": None}
_PYTHON = Path(os.environ.get("ENVISIONS_WEB_PEERS", "build/web-peers")) / "bin" / "python"
_EPISODES = {"miniwob": 20, "browsergym": 4, "browsergym-undelayed": 8}
_OURS = 100  # the peer's seeds so often that there are as many episodes


def program(page: str, utterance: str) -> str:
    """What solves a page, in our language."""
    return "\n".join(_line(step) for step in steps(page, utterance))


def _line(step: Step) -> str:
    name = f"[normalize-space()='{step.text}']" if step.text else ""
    xpath = {
        "checkbox": f"//label{name}/input",
        "field": "//input",
        "result": f"(//a[contains(@class, 'search-title')])[{step.nth + 1}]",
    }.get(step.tag, f"//{step.tag}{name}")
    typing = f"\nagent.type({step.typed!r})" if step.typed else ""
    return f'agent.click_xpath("{xpath}"){typing}'


class PeerProcess:
    """A peer's process, one job at a time."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def answer(self) -> dict[str, int]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise BenchmarkError("the peer ended; what it said is above")
        return dict(json.loads(line))

    def play(self, page: str, seeds: Sequence[int]) -> Work:
        """Raises BenchmarkError unless every episode was solved."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # of one that has ended: `answer` says so
            print(json.dumps({"page": page, "seeds": list(seeds)}), file=self._process.stdin, flush=True)
        solved = self.answer()["solved"]
        if solved != len(seeds):
            raise BenchmarkError(f"{page}: the peer solved {solved} of {len(seeds)}")
        return Work(len(seeds))


@contextmanager
def start_peer(name: str) -> Iterator[PeerProcess]:
    """Starts a peer in its own Python, with the browser that ours drives."""
    driver = shutil.which("chromedriver")
    if not _PYTHON.exists() or driver is None:
        raise BenchmarkError(
            f"the peers are not installed ({_PYTHON} and chromedriver): run `make benchmark-web`"
        )
    chromium = find_chromium()
    settings = {
        "PEER_CHROMIUM": chromium,
        "MINIWOB_CHROME_BINARY": chromium,
        "MINIWOB_CHROMEDRIVER": driver,
    }
    command = [str(_PYTHON), str(Path(__file__).parent / "web_peers" / "play.py"), name]
    process = subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | settings,
        start_new_session=True,
    )
    try:
        peer = PeerProcess(process)
        peer.answer()
        yield peer
    finally:
        assert process.stdin is not None
        with suppress(BrokenPipeError):
            process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            process.wait(timeout=60)
        with suppress(ProcessLookupError):  # the package miniwob ends its drivers, but not their browsers
            os.killpg(process.pid, signal.SIGKILL)


def measure(bench: Bench) -> list[Case]:
    """Every page against every peer, ours with and without a look at the page."""
    cases = []
    with WebEnvironment(workers=1) as environment:
        for name, asked in PEERS.items():
            with start_peer(name) as peer:
                for page in PAGES:
                    for looks in (False, True):
                        cases.append(_measure(bench, environment, peer, name, page, looks, asked))
    return cases


def _measure(
    bench: Bench,
    environment: WebEnvironment,
    peer: PeerProcess,
    name: str,
    page: str,
    looks: bool,
    asked: float | None,
) -> Case:
    count = max(1, _EPISODES[name] // (4 if bench.options.quick else 1))
    repeats = 1 if bench.options.quick else _OURS // count

    def seeds(turn: int) -> range:
        return range(turn * count, (turn + 1) * count)

    tasks = {turn: _tasks(environment, page, seeds(turn)) for turn in range(bench.options.repeats)}

    def ours(turn: int) -> Work:
        for _ in range(repeats):
            _solve(environment, page, _tasks(environment, page, seeds(turn)) if looks else tasks[turn])
        return Work(count * repeats)

    measured = interleave(
        Side("ours", ours, lambda: ours(0)),
        Side(name, lambda turn: peer.play(page, seeds(turn)), lambda: peer.play(page, range(1))),
        bench.options.repeats,
    )
    what = f"{page}, {name}{', ours with a look' if looks else ''}"
    return Case(what, "episodes", *measured, asked=None if looks else asked)


def _tasks(environment: WebEnvironment, page: str, seeds: range) -> list[Task]:
    return list(environment.tasks((page, seed) for seed in seeds))


def _solve(environment: WebEnvironment, page: str, tasks: Sequence[Task]) -> None:
    programs = [(task, program(page, task.meta["utterance"])) for task in tasks]
    for (task, text), outcome in zip(programs, environment.execute(programs), strict=True):
        if not outcome.correct:
            raise BenchmarkError(f"{task.id}: {outcome}\n{text}")


if __name__ == "__main__":
    main(["web"])
