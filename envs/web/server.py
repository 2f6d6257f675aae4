"""Serves episodes: one process, one browser, one episode after the other, jobs and answers on two pipes.

A browser that dies or hangs is replaced here and the episode run again, once; a worker that dies is the
pool's affair.
"""

import base64
import time

from playwright.sync_api import Playwright, sync_playwright

from envs import frames
from envs.web.browser import Browser, Episode, EpisodeOver, OutOfTime
from envs.web.episodes import Answer, Job
from envs.web.language import Action, ProgramError, read_program
from envs.web.pages import Pages
from envs.web.settings import WebSettings
from envs.web.start import BrowserLost
from envs.web.tab import ScriptError
from envs.web.watchdog import Watchdog, kill_browsers

_ATTEMPTS = 2
_STARTS = 3
_GRACE_S = 5.0  # beyond an episode's own limit, for calls that cannot look at the clock
_START_LIMIT_S = 90.0


def serve(settings: WebSettings, jobs: int, answers: int, *, has_own_network: bool) -> int:
    """Answers jobs until there are no more; the exit status."""
    with sync_playwright() as playwright:
        server = Server(settings, playwright, has_own_network=has_own_network)
        try:
            server.start(attempts=1)  # the pool makes others
        except BrowserLost as error:
            frames.write(answers, {"failed": str(error)})
            return 1
        frames.write(answers, {"ready": True})
        while (message := frames.read(jobs)) is not None:
            answer = server.run(Job(**message["payload"]))
            frames.write(answers, {"id": message["id"], **vars(answer)})
        server.stop()
    return 0


class Server:
    """Runs jobs in a browser that it starts, replaces and ends."""

    def __init__(self, settings: WebSettings, playwright: Playwright, *, has_own_network: bool) -> None:
        self._settings, self._playwright = settings, playwright
        self._has_own_network = has_own_network
        self._pages = Pages(settings.pages)
        self._watchdog = Watchdog()
        self._browser: Browser | None = None
        self._episodes = 0

    def start(self, attempts: int = _STARTS) -> Browser:
        """The browser, started if there is none. Raises BrowserLost if all attempts fail."""
        for attempt in range(attempts):
            if self._browser is not None:
                break
            try:
                with self._watchdog.guarding(_START_LIMIT_S):
                    self._browser = Browser(
                        self._playwright,
                        self._settings.executable,
                        self._pages,
                        mode=self._settings.mode,
                        reload_after=self._settings.reload_after,
                        shows_utterance=self._settings.shows_utterance,
                        has_own_network=self._has_own_network,
                    )
            except BrowserLost:
                kill_browsers()
                if attempt == attempts - 1:
                    raise
        assert self._browser is not None
        return self._browser

    def stop(self) -> None:
        """Ends the browser; one that does not want to is killed."""
        if self._browser is not None:
            with self._watchdog.guarding(_GRACE_S):
                self._browser.close()
            kill_browsers()
            self._browser, self._episodes = None, 0

    def run(self, job: Job) -> Answer:
        """One job, once more if the browser was lost on the way."""
        begin = time.monotonic()
        try:
            actions = [] if job.program is None else read_program(job.program)
        except ProgramError as error:
            return Answer("invalid", notes=[str(error)], seconds=time.monotonic() - begin)
        if self._episodes >= self._settings.recycle_after:
            self.stop()
        for _ in range(_ATTEMPTS):
            browser = self.start()
            begin, refused = time.monotonic(), browser.refused_requests
            self._episodes += 1
            try:
                with self._watchdog.guarding(self._settings.time_limit_s + _GRACE_S):
                    answer = self._episode(browser, job, actions)
            except (BrowserLost, EpisodeOver) as error:  # over before it began: no program did that
                answer = Answer("infrastructure", notes=[f"{_culprit(error)}: {error}"])
                if self._watchdog.fired:
                    answer = Answer("timeout", notes=["the page did not react any more"])
                kill_browsers()
                self._browser, self._episodes = None, 0
            answer.seconds = time.monotonic() - begin
            answer.refused_requests = browser.refused_requests - refused
            if self._browser is not None:
                break
        return answer

    def _episode(self, browser: Browser, job: Job, actions: list[Action]) -> Answer:
        episode = browser.begin(job.page, job.seed, self._settings.time_limit_s)
        answer = Answer()
        if job.screenshots:
            answer.screenshots.append(_picture(browser, episode))
        try:
            for action in actions:
                browser.act(episode, action)
            browser.look(episode)
            if job.observe and (seen := browser.observe(episode)):
                answer.observation = vars(seen)
            if job.screenshots:
                answer.screenshots.append(_picture(browser, episode))
        except EpisodeOver as error:
            answer.status = "over"
            episode.notes.append(str(error))
        except OutOfTime:
            answer.status = "timeout"
            limit = self._settings.time_limit_s
            episode.notes.append(f"the episode was not over after {limit:g} s")
        return _filled(answer, episode)


def _culprit(error: BrowserLost | EpisodeOver) -> str:
    failed = isinstance(error.__cause__, ScriptError)
    return "the page does not work" if failed else "the browser was lost"


def _filled(answer: Answer, episode: Episode) -> Answer:
    answer.done, answer.reward = episode.done, episode.reward
    answer.effects, answer.notes = episode.effects, episode.notes
    return answer


def _picture(browser: Browser, episode: Episode) -> str:
    return base64.b64encode(browser.screenshot(episode)).decode("ascii")
