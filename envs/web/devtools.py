"""How a tab is asked and touched: by Playwright, or beside it over a connection of our own.

A call by way of Playwright wakes its event loop, its driver and then Chromium, and one waits for the other.
`Direct` speaks to Chromium itself (DevTools protocol 1.3) and posts what belongs together at once. It needs a
port of this machine, which anybody here could use, and so it is for workers with a network of their own.

Refusing requests and closing windows stay Playwright's affair; `Direct` lets it see to them when a call takes
long.
"""

import json
import select
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal, Protocol, TypeAlias, cast, get_args

import websocket
from playwright.sync_api import CDPSession, Page
from playwright.sync_api import Error as PlaywrightError

_HOST = "127.0.0.1"
_CONNECT_LIMIT_S = 10.0
_PATIENCE_MS = (20, 200)  # until Playwright is first asked whether it has something to do, and at most
_DOMAINS = ("Page", "Network")

Event = Literal[
    "Page.windowOpen",
    "Page.downloadWillBegin",
    "Page.frameNavigated",
    "Network.requestWillBeSent",
    "Network.webSocketCreated",
]
_EVENTS: tuple[Event, ...] = get_args(Event)
Heed: TypeAlias = Callable[[Event, dict[str, Any]], None]  # takes an event and its parameters
Call: TypeAlias = tuple[str, dict[str, Any]]  # a method of the protocol and its parameters

# The American keyboard, by the names of its keys: what each types without and with Shift, and its key code.
_KEYS = (
    {f"Key{letter}": (letter.lower() + letter, ord(letter)) for letter in "ABCDEFGHIJKLMNOPQRSTUVWXYZ"}
    | {f"Digit{digit}": (digit + ")!@#$%^&*("[int(digit)], ord(digit)) for digit in "0123456789"}
    | {"Backquote": ("`~", 192), "Minus": ("-_", 189), "Equal": ("=+", 187), "Backslash": ("\\|", 220)}
    | {
        "BracketLeft": ("[{", 219),
        "BracketRight": ("]}", 221),
        "Semicolon": (";:", 186),
        "Slash": ("/?", 191),
    }
    | {"Quote": ("'\"", 222), "Comma": (",<", 188), "Period": (".>", 190), "Space": (" ", 32)}
)
_ENTER = {"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"}
_LAYOUT = {
    character: {"key": character, "code": name, "windowsVirtualKeyCode": code, "text": character}
    for name, (characters, code) in _KEYS.items()
    for character in characters
} | {"\n": _ENTER, "\r": _ENTER}


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

    def let_go(self) -> None:
        """To be called before the tab is closed."""


class ByPlaywright:
    """`Hands` of Playwright's own."""

    def __init__(self, page: Page, session: CDPSession, heed: Heed) -> None:
        self._page, self._session = page, session
        for event in _EVENTS:
            session.on(event, partial(heed, event))
        for domain in _DOMAINS:
            session.send(f"{domain}.enable")

    def call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        return dict(self._session.send(method, parameters))

    def click(self, x: float, y: float) -> None:
        self._page.mouse.click(x, y)

    def move(self, x: float, y: float) -> None:
        self._page.mouse.move(x, y)

    def type(self, text: str) -> None:
        self._page.keyboard.type(text)

    def let_go(self) -> None:
        pass  # nothing is held


class Direct:
    """`Hands` with a connection of their own to a tab.

    session: Playwright's own to the same tab.
    target: the tab's id.
    port: Chromium's --remote-debugging-port on this machine.
    heed: is told of every `Event`.
    """

    def __init__(self, session: CDPSession, target: str, port: int, heed: Heed) -> None:
        self._session, self._heed = session, heed
        self._number = 0  # of the last call
        try:
            self._socket = websocket.create_connection(
                f"ws://{_HOST}:{port}/devtools/page/{target}",
                timeout=_CONNECT_LIMIT_S,
                http_no_proxy=[_HOST],
                suppress_origin=True,  # Chromium takes one for a page that tries to reach it
                skip_utf8_validation=True,
            )
        except (OSError, websocket.WebSocketException) as error:
            raise PlaywrightError(f"no connection to Chromium on port {port}: {error}") from error
        self._socket.settimeout(None)
        self._arrival = select.poll()
        self._arrival.register(self._socket.fileno(), select.POLLIN)
        self._run([(f"{domain}.enable", {}) for domain in _DOMAINS])

    def call(self, method: str, parameters: dict[str, Any]) -> dict[str, Any]:
        return self._run([(method, parameters)])[0]

    def click(self, x: float, y: float) -> None:
        button = {"x": x, "y": y, "button": "left", "clickCount": 1}
        events = [{"type": "mouseMoved", "x": x, "y": y}, {"type": "mousePressed", **button}]
        events.append({"type": "mouseReleased", **button})
        self._run([("Input.dispatchMouseEvent", event) for event in events])

    def move(self, x: float, y: float) -> None:
        self._run([("Input.dispatchMouseEvent", {"type": "mouseMoved", "x": x, "y": y})])

    def type(self, text: str) -> None:
        self._run([call for character in text for call in _typing(character)])

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
                message = self._next_message()
                if message.get("id", 0) >= first:  # others are answers to calls that an exception cut off
                    answers[message["id"]] = message
        except (OSError, websocket.WebSocketException) as error:
            see_to_playwright(self._session)  # which raises what has happened, if it knows
            raise PlaywrightError(f"the connection to Chromium ended: {error}") from error
        return [_result(answers[first + i]) for i in range(len(calls))]

    def _next_message(self) -> dict[str, Any]:
        patience, most = _PATIENCE_MS
        while not self._arrival.poll(patience):
            see_to_playwright(self._session)  # the page may be waiting for it
            patience = min(2 * patience, most)
        if not (text := self._socket.recv()):
            raise ConnectionError("Chromium closed it")
        message: dict[str, Any] = json.loads(text)
        event = message.get("method")
        if event == "Inspector.targetCrashed":
            raise ConnectionError("the page crashed")
        if event in _EVENTS:
            self._heed(cast(Event, event), message["params"])
        return message


def see_to_playwright(session: CDPSession) -> str:
    """Lets Playwright deal with what it has heard of; returns the id of the session's tab."""
    return str(session.send("Target.getTargetInfo")["targetInfo"]["targetId"])  # any call does


def free_port() -> int:
    """A port of this machine that nothing listens at now."""
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        return int(probe.getsockname()[1])


def _typing(character: str) -> list[Call]:
    if (key := _LAYOUT.get(character)) is None:
        return [("Input.insertText", {"text": character})]
    return [("Input.dispatchKeyEvent", {"type": kind, **key}) for kind in ("keyDown", "keyUp")]


def _result(answer: dict[str, Any]) -> dict[str, Any]:
    if "error" in answer:
        raise PlaywrightError(str(answer["error"].get("message", answer["error"])))
    return dict(answer["result"])
