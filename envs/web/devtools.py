"""How a tab is asked and touched: by Playwright, or beside it over a connection of our own.

A call by way of Playwright wakes its event loop, its driver and then Chromium, and one waits for the other.
`Direct` speaks to Chromium itself (DevTools protocol 1.3) and posts what belongs together at once: an episode
of search-engine takes two thirds of the time (benchmarks/web.py). It needs a port of this machine, which
anybody here could use, and so it is for workers with a network of their own.

What pages seldom do stays Playwright's affair: `Direct` lets it see to that when a call takes long, and says
when something was seen that Playwright may not have told yet.
"""

import json
import select
import socket
from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import websocket
from playwright.sync_api import CDPSession, Page
from playwright.sync_api import Error as PlaywrightError

_CONNECT_LIMIT_S = 10.0
_PATIENCE_S = (0.02, 0.2)  # until Playwright is first asked whether it has something to do, and at most
_DOMAINS = ("Page", "Network")
# What Playwright makes an event of: `Tab` has to hear of it before it goes on.
_EVENTS = frozenset({"Page.windowOpen", "Page.downloadWillBegin", "Network.requestWillBeSent"})

# The American keyboard, by the names of its keys: what each types without and with Shift, and its key code.
_KEYS = {
    **{f"Key{letter}": (letter.lower() + letter, ord(letter)) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"},
    **{
        f"Digit{digit}": (digit + upper, ord(digit))
        for digit, upper in zip("1234567890", "!@#$%^&*()", strict=True)
    },
    **{"Backquote": ("`~", 192), "Minus": ("-_", 189), "Equal": ("=+", 187), "Backslash": ("\\|", 220)},
    **{
        "BracketLeft": ("[{", 219),
        "BracketRight": ("]}", 221),
        "Semicolon": (";:", 186),
        "Quote": ("'\"", 222),
    },
    **{"Comma": (",<", 188), "Period": (".>", 190), "Slash": ("/?", 191), "Space": (" ", 32)},
}
_LAYOUT = {
    **{
        character: {"key": character, "code": name, "windowsVirtualKeyCode": code, "text": character}
        for name, (characters, code) in _KEYS.items()
        for character in characters
    },
    **{
        end: {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
        for end in ("\n", "\r")
    },
}

Call: TypeAlias = tuple[str, dict[str, Any]]  # a method of the protocol and its parameters


class Hands(Protocol):
    """What asks and touches a tab. All methods raise Playwright's Error, also for a browser that is gone."""

    def call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        """What Chromium answers."""

    def click(self, x: float, y: float) -> None:
        """Moves the mouse there, in pixels of the window, and presses its left button once."""

    def move(self, x: float, y: float) -> None:
        """Moves the mouse there, in pixels of the window."""

    def type(self, text: str) -> None:
        """Types on an American keyboard; what that has no key for is put in as it is."""

    def heed(self) -> None:
        """Lets Playwright tell what the page did until now, if it did anything."""

    def let_go(self) -> None:
        """To be called when the tab is closed."""


class ByPlaywright:
    """`Hands` of Playwright's own."""

    def __init__(self, page: Page, session: CDPSession) -> None:
        self._page, self._session = page, session

    def call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        return dict(self._session.send(method, parameters))

    def click(self, x: float, y: float) -> None:
        self._page.mouse.click(x, y)

    def move(self, x: float, y: float) -> None:
        self._page.mouse.move(x, y)

    def type(self, text: str) -> None:
        self._page.keyboard.type(text)

    def heed(self) -> None:
        pass  # every call of Playwright's does

    def let_go(self) -> None:
        pass


class Direct:
    """`Hands` with a connection of their own to the tab of Playwright's `session`.

    port: Chromium's --remote-debugging-port on this machine.
    """

    def __init__(self, session: CDPSession, port: int) -> None:
        self._session = session
        self._number = 0  # of the last call
        self._has_news = False  # for Playwright to tell
        target = session.send("Target.getTargetInfo")["targetInfo"]["targetId"]
        try:
            self._socket = websocket.create_connection(
                f"ws://127.0.0.1:{port}/devtools/page/{target}",
                timeout=_CONNECT_LIMIT_S,
                suppress_origin=True,  # Chromium takes one for a page that tries to reach it
                skip_utf8_validation=True,
            )
        except (OSError, websocket.WebSocketException) as error:
            raise PlaywrightError(f"no connection to Chromium on port {port}: {error}") from error
        self._run([(f"{domain}.enable", {}) for domain in _DOMAINS])

    def call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        return self._run([(method, parameters)])[0]

    def click(self, x: float, y: float) -> None:
        button = {"x": x, "y": y, "button": "left", "clickCount": 1}
        moves = [{"type": "mouseMoved", "x": x, "y": y}]
        presses = [{"type": kind, **button} for kind in ("mousePressed", "mouseReleased")]
        self._run([("Input.dispatchMouseEvent", event) for event in moves + presses])

    def move(self, x: float, y: float) -> None:
        self._run([("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})])

    def type(self, text: str) -> None:
        self._run([call for character in text for call in _typing(character)])

    def heed(self) -> None:
        if self._has_news:
            self._ask_playwright()

    def let_go(self) -> None:
        self._socket.shutdown()

    def _run(self, calls: Sequence[Call]) -> list[dict[str, Any]]:
        """Posts all calls, then waits for all answers."""
        first = self._number + 1
        answers: dict[int, dict[str, Any]] = {}
        try:
            for method, parameters in calls:
                self._number += 1
                self._socket.send(json.dumps({"id": self._number, "method": method, "params": parameters}))
            while len(answers) < len(calls):
                self._await_message()
                if not (text := self._socket.recv()):
                    raise ConnectionError("Chromium closed it")
                message = json.loads(text)
                if message.get("id", 0) >= first:
                    answers[message["id"]] = message
                elif message.get("method") == "Inspector.targetCrashed":
                    raise ConnectionError("the page crashed")
                elif message.get("method") in _EVENTS:
                    self._has_news = True
        except (OSError, websocket.WebSocketException) as error:
            self._ask_playwright()  # which knows better what has happened
            raise PlaywrightError(f"the connection to Chromium ended: {error}") from error
        return [_result(answers[first + i]) for i in range(len(calls))]

    def _await_message(self) -> None:
        if self._socket.sock is None:
            raise ConnectionError("it is closed")
        patience, most = _PATIENCE_S
        while not select.select([self._socket.sock], [], [], patience)[0]:
            self._ask_playwright()  # a dialog keeps the page from answering, or the page has crashed
            patience = min(2 * patience, most)

    def _ask_playwright(self) -> None:
        self._has_news = False
        self._session.send("Target.getTargetInfo")  # before its answer comes everything that was before it


def free_port() -> int:
    """A port of this machine that nothing listens at now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _typing(character: str) -> list[Call]:
    if (key := _LAYOUT.get(character)) is None:
        return [("Input.insertText", {"text": character})]
    return [("Input.dispatchKeyEvent", {"type": kind, **key}) for kind in ("keyDown", "keyUp")]


def _result(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise PlaywrightError(str(answer["error"].get("message", answer["error"])))
    return dict(answer["result"])
