"""One real Chromium with one live page: episodes of MiniWoB++ are begun, observed, acted in and judged here.

An episode begins by seeding a page that is already loaded; that is several times cheaper than loading it, and
as good: `reset` in page.js puts back whatever else a page keeps (measured over the 44 tasks of the paper, see
docs/environments.md). One episode at a time: all pages of a browser share a clipboard.

A round trip to the page costs more than most of what it is asked, so the beginning of an episode and the look
at what an action did wait for the next question, and go with it.
"""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any, Self

from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import FloatRect, Playwright

from envs.web.devtools import free_port
from envs.web.episodes import Observation
from envs.web.language import COPYING, KEYS, Action
from envs.web.pages import Pages
from envs.web.start import BrowserLost, first_line, start_chromium
from envs.web.tab import DISMISSED, Tab

_TASK: FloatRect = {"x": 0, "y": 0, "width": 160, "height": 210}
_UNCOVERED = "#sync-task-cover { display: none !important; }"
_TYPED_AT_ONCE = 200  # characters between two looks at the clock
# What Playwright says of a call that met a page on its way to another.
_SIGNS_OF_LEAVING = (
    *("context was destroyed", "Cannot find context", "frame was detached", "target navigated"),
    "envisions is not defined",
)


class EpisodeOver(RuntimeError):
    """The episode cannot go on, by what the program made the page do; the message says what."""


class OutOfTime(RuntimeError):
    """The episode's time is up."""


@dataclass
class Episode:
    """The course of one episode so far. `reward` is MiniWoB++'s raw reward, in [-1, 1], once it is `done`."""

    page: str
    seed: int
    deadline: float = float("inf")  # time.monotonic() in seconds
    done: bool = False
    reward: float = 0.0
    effects: list[str] = field(default_factory=list)  # one a finished action: what it was, what it did
    notes: list[str] = field(default_factory=list)  # what did not work, for the reader of an outcome
    focused: bool = False


class Browser:
    """A started Chromium. Leaving it as a context manager ends it.

    mode: MiniWoB++'s distribution of problems, "train" or "test" (few pages tell them apart).
    reload_after: episodes after which a page is loaded anew.
    shows_utterance: whether the utterance is part of what programs have seen of a page, and so of what an
        XPath may find.
    has_own_network: whether nobody but this worker reaches a port of this machine (see devtools.py).
    """

    def __init__(
        self,
        playwright: Playwright,
        executable: str,
        pages: Pages,
        *,
        mode: str = "train",
        reload_after: int = 200,
        shows_utterance: bool = False,
        has_own_network: bool = False,
    ) -> None:
        self._pages = pages
        self._mode, self._reload_after = mode, reload_after
        self._shows_utterance = shows_utterance
        self._name, self._used = "", 0  # the page that is loaded ("": none that may be used), episodes since
        self._waiting: list[list[Any]] = []  # calls of page.js that go with the next question
        self._has_copied = False  # into the clipboard, since it was cleared
        port = free_port() if has_own_network else None
        self._browser = start_chromium(playwright, executable, port)
        try:
            self._tab = Tab(self._browser, pages.folder, port)
        except PlaywrightError as error:
            raise BrowserLost(first_line(error)) from error

    @property
    def refused_requests(self) -> int:
        """How many requests of pages were refused so far."""
        return self._tab.refused_requests

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Ends the browser; one that is gone already is fine."""
        with suppress(PlaywrightError):  # of one that is gone
            self._tab.hands.let_go()
            self._browser.close()

    # --- Episodes --------------------------------------------------------------------------------

    def begin(self, page: str, seed: int, time_limit_s: float = float("inf")) -> Episode:
        """Starts the episode of (page, seed). Raises BrowserLost, and ValueError for an unknown page."""
        path = self._pages.path(page)
        with self._watching():
            if self._name != page or self._used >= self._reload_after or self._tab.page.is_closed():
                was_usable, self._name = bool(self._name), ""
                self._tab.load(path, afresh=not was_usable)
                self._name, self._used = page, 0
            self._used += 1
            if self._has_copied:
                self._tab.clear_clipboard()
                self._has_copied = False
            self._tab.park()
            self._waiting = [["reset", seed, self._mode, self._tab.path]]
        return Episode(page, seed, time.monotonic() + time_limit_s)

    def act(self, episode: Episode, action: Action) -> None:
        """Does one action; after the episode's end it does nothing. What the page made of the action is seen
        with the next one, or by `look`.

        Raises EpisodeOver, OutOfTime or BrowserLost; the page is then loaded anew before it is used again.
        """
        if episode.done:
            return
        with self._watching():
            self._check_time(episode)
            told = self._do(episode, action)
            if told is None:
                return
            self._await_look(episode)
        effect, note = told
        episode.effects.append(f"{action}: {effect}")
        if note:
            episode.notes.append(f"line {action.line}: {action}: {note}")

    def look(self, episode: Episode) -> None:
        """Sees what the last action did. Raises as `act` does."""
        with self._watching():
            self._look(episode)

    def observe(self, episode: Episode) -> Observation | None:
        """What the page shows now; None after the episode's end. Raises as `act` does."""
        if episode.done:
            return None
        with self._watching():
            seen = self._ask(episode, "observe")
        return seen and Observation(seen["utterance"], tuple(seen["lines"]), seen["html"])

    def screenshot(self, episode: Episode) -> bytes:
        """The page as PNG, 160 x 210 pixels: the task alone, without the cover that ends an episode.

        Raises as `act` does.
        """
        with self._watching():
            self._look(episode)
            return self._tab.page.screenshot(clip=_TASK, style=_UNCOVERED)

    # --- Actions ---------------------------------------------------------------------------------

    def _do(self, episode: Episode, action: Action) -> tuple[str, str] | None:
        """What an action did, and what is wrong with it ("" if nothing).

        None if the last action ended the episode.
        """
        if action.kind not in ("type", "press"):
            return self._point(episode, action)
        self._look(episode)
        if episode.done:
            return None
        if action.kind == "type":
            for start in range(0, len(action.argument), _TYPED_AT_ONCE):
                self._check_time(episode)
                self._tab.hands.type(action.argument[start : start + _TYPED_AT_ONCE])
            return self._keyed(episode, f"typed {len(action.argument)} characters")
        key = KEYS[action.argument.lower()]
        self._has_copied |= key in COPYING
        self._tab.page.keyboard.press(key)
        return ("pressed", "") if key == "Tab" else self._keyed(episode, "pressed")

    def _keyed(self, episode: Episode, effect: str) -> tuple[str, str]:
        return effect, "" if episode.focused else "no field had the focus: click into one first"

    def _point(self, episode: Episode, action: Action) -> tuple[str, str] | None:
        """Clicks every element the XPath finds, in the order of the page, or moves the mouse to the first."""
        located = self._ask(episode, "locate", action.argument, self._shows_utterance)
        if located is None:
            return None
        if "error" in located:
            return "nothing", f"no XPath that finds elements: {located['error']}"
        count = located["count"]
        if count == 0:
            return "nothing", "nothing on the page matches"
        effects, notes = [], []
        for index in range(1 if action.kind == "movemouse" else count):
            self._check_time(episode)
            place = located["first"] if index == 0 else self._ask(episode, "place", index)
            if place is None:  # the click before ended it
                break
            effect, note = self._point_at(episode, action, index, place)
            self._await_look(episode)
            effects.append(effect)
            notes += [note] if note else []
        if count > 1 and action.kind != "movemouse":
            notes.insert(0, f"{count} elements match, all were clicked")
        return ", ".join(effects), "; ".join(dict.fromkeys(notes))

    def _point_at(
        self, episode: Episode, action: Action, index: int, place: dict[str, Any]
    ) -> tuple[str, str]:
        what = place["what"]
        if not place["isVisible"]:
            return "nothing", f"{what} cannot be seen"
        if place.get("isOption"):
            if action.kind == "movemouse":
                return "nothing", f"the mouse cannot move to {what}, an option of a list"
            self._ask(episode, "select", index)
            return f"selected {what}", ""
        if action.kind == "click_option":
            return "nothing", f"{what} is no option of a list"
        covering = f"{place['covering']} covers {what}" if place["covering"] else ""
        if action.kind == "movemouse":
            self._tab.hands.move(place["x"], place["y"])
            return f"moved to {what}", covering
        self._tab.hands.click(place["x"], place["y"])
        return f"clicked {what}", covering

    # --- The page and what it does ---------------------------------------------------------------

    def _check_time(self, episode: Episode) -> None:
        if time.monotonic() > episode.deadline:
            raise OutOfTime

    def _await_look(self, episode: Episode) -> None:
        if not episode.done:
            self._waiting = [["state"]]

    def _look(self, episode: Episode) -> None:
        """Asks what has waited for a question, if anything has."""
        if self._waiting:
            self._ask(episode)

    def _ask(self, episode: Episode, *call: Any) -> Any:
        """What page.js answers to a call, after those that waited for it; None if the episode is over."""
        self._notice(episode)
        calls = [*self._waiting, list(call)] if call else self._waiting
        answers = self._tab.evaluate(f"envisions.run({json.dumps(calls)})")
        waiting, self._waiting = self._waiting, []
        if waiting == [["state"]]:
            self._see(episode, answers[0])
        return answers[-1] if call and not episode.done else None

    def _notice(self, episode: Episode) -> None:
        """Sees what the page did beside itself since the last look."""
        episode.notes += self._tab.notice()
        if self._tab.page.is_closed():
            raise EpisodeOver("the page closed itself")
        if self._tab.left_for:  # it may take a moment until it is gone
            raise EpisodeOver(self._left())

    def _see(self, episode: Episode, state: dict[str, Any] | None) -> None:
        if state is None or state["path"] != self._tab.path:
            raise EpisodeOver(self._left())
        episode.done, episode.reward, episode.focused = state["done"], state["reward"], state["focused"]
        episode.notes += [DISMISSED.format(said) for said in state["dialogs"]]

    def _left(self) -> str:
        """That the page was left, and what for, as far as that can be told."""
        where = self._tab.left_for or self._tab.page.url
        if not self._tab.left_for:
            with suppress(PlaywrightError):  # it may be left for yet another
                where = self._tab.evaluate("location.href")
        return f"the page was left for {where[:200]}"

    @contextmanager
    def _watching(self) -> Iterator[None]:
        """Whatever goes wrong inside makes the page be loaded anew; a dead browser raises BrowserLost."""
        try:
            yield
        except PlaywrightError as error:
            self._name = ""
            has_begun = "reset" not in [name for name, *_ in self._waiting]
            if has_begun and any(sign in str(error) for sign in _SIGNS_OF_LEAVING):
                raise EpisodeOver(self._left()) from error
            raise BrowserLost(first_line(error)) from error
        except BaseException:
            self._name = ""
            raise
