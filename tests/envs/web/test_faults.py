"""Many episodes while browsers and workers are killed and pages hang: each gets its outcome, nothing stays.

`WEB_EPISODES=2000 pytest tests/envs/web/test_faults.py` is the long form; a twentieth of them are faults.
"""

import os
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from envs import Outcome, Task
from envs.web.environment import WebEnvironment

pytestmark = [pytest.mark.browser, pytest.mark.slow]

EPISODES = int(os.environ.get("WEB_EPISODES", "200"))
KILLS = EPISODES // 50
# Of programs whose page misbehaves: what each must end in.
MISDEEDS = {"hang": "timeout", "memory": "infrastructure", "alert": "wrong", "leave": "error"}


def _family(environment: WebEnvironment) -> list[psutil.Process]:
    """All processes of the environment's workers."""
    family = []
    for pid in environment.processes():
        try:
            family += psutil.Process(pid).children(recursive=True)
        except psutil.NoSuchProcess:
            continue  # a worker that was just killed
    return family


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


@contextmanager
def _killing(environment: WebEnvironment, times: int) -> Iterator[list[str]]:
    """Meanwhile kills now a browser, now a renderer, now a whole worker; yields what has been killed."""
    stop, killed, rng = threading.Event(), list[str](), random.Random(0)
    victims = {
        "browser": lambda text: "--remote-debugging-pipe" in text,
        "renderer": lambda text: "--type=renderer" in text,
        "worker": lambda text: "envs.web.worker" in text,
    }

    def kill() -> None:
        while len(killed) < times and not stop.wait(rng.uniform(0.5, 1.5)):
            kind = rng.choice(list(victims))
            found = [one for one in _family(environment) if victims[kind](_command(one))]
            if found:
                try:
                    rng.choice(found).kill()
                except psutil.NoSuchProcess:
                    continue
                killed.append(kind)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        stop.set()
        thread.join()


def _episodes(rng: random.Random) -> list[tuple[str, str, str]]:
    """(page, program, outcome it must have): mostly right and wrong ones, some misdeeds in between."""
    click = "agent.click_xpath(\"//*[@id='{}']\")"
    plain = [
        ("strange", click.format("win"), "correct"),
        ("strange", click.format("lose"), "wrong"),
        ("click-test", 'agent.click_xpath("//button")', "correct"),
        ("click-test", 'agent.click_xpath("//nothing")', "wrong"),
        ("click-test", "import os", "invalid"),
    ]
    episodes = [rng.choice(plain) for _ in range(EPISODES)]
    for number in rng.sample(range(EPISODES), EPISODES // 33):
        deed = rng.choice(list(MISDEEDS))
        program = "\n".join(click.format(name) for name in (deed, "throw", "lose"))
        episodes[number] = ("strange", program, MISDEEDS[deed])
    return episodes


def _abandoned_folders() -> set[Path]:
    """Folders of workers for what their browsers write that no browser uses; other tests run some as well."""
    commands = " ".join(map(_command, psutil.process_iter()))
    return {folder for folder in Path("/tmp").glob("envisions-web-*") if str(folder) not in commands}


def _memory_gib(environment: WebEnvironment) -> float:
    """Proportional set size of all workers and their browsers."""
    total = 0
    for process in _family(environment):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total / 2**30


@pytest.mark.timeout(1800)
def test_every_episode_gets_its_outcome_whatever_dies(strange_pages: Path) -> None:
    episodes, before = _episodes(random.Random(1)), _abandoned_folders()
    with WebEnvironment(workers=2, pages=str(strange_pages), time_limit_s=3) as environment:
        tasks = {page: environment.task(page, 1) for page in ("strange", "click-test")}
        programs = [(tasks[page], program) for page, program, _ in episodes]
        with _killing(environment, KILLS) as killed:
            outcomes = list(environment.execute(programs))
        assert len(killed) >= KILLS // 2, "the episodes were over before enough was killed"
        _check(episodes, outcomes)
        assert [outcome.kind for outcome in environment.execute(programs[:20])] == [
            kind for _, _, kind in episodes[:20]
        ]
        family = _family(environment)
    gone = time.monotonic() + 10
    while any(process.is_running() for process in family) and time.monotonic() < gone:
        time.sleep(0.1)
    assert [_command(process) for process in family if process.is_running()] == []
    while not _abandoned_folders() <= before and time.monotonic() < gone:
        time.sleep(0.1)  # another test's worker has its folder before its browser
    assert _abandoned_folders() <= before


def _check(episodes: list[tuple[str, str, str]], outcomes: list[Outcome]) -> None:
    """What was not struck twice ended as it must; what was is no verdict, and never a reward."""
    assert len(outcomes) == len(episodes)
    strayed = Counter(
        (expected, outcome.kind)
        for (_, _, expected), outcome in zip(episodes, outcomes, strict=True)
        if outcome.kind != expected
    )
    assert {kind for _, kind in strayed} <= {"infrastructure"}, strayed
    assert sum(strayed.values()) <= KILLS // 4, strayed


def test_memory_is_flat(strange_pages: Path) -> None:
    with WebEnvironment(workers=1, pages=str(strange_pages)) as environment:
        # In turn, so that a page is loaded for every episode: what is left of it is what could pile up.
        pair: list[tuple[Task, str]] = [
            (environment.task(page, seed), 'agent.click_xpath("(//button)[1]")')
            for seed in range(5)
            for page in ("click-test", "strange")
        ]
        sizes = []
        for _ in range(5):
            assert all(outcome.correct for outcome in environment.execute(pair * (EPISODES // 100)))
            sizes.append(_memory_gib(environment))
        assert max(sizes[2:]) <= 1.1 * sizes[1], sizes
