"""The tab that episodes are played in: loading pages, asking them, and what they do beside that."""

import json
import re
import time
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Dialog, Page
from playwright.sync_api import Error as PlaywrightError

from envs.web.devtools import ByPlaywright, Direct, Event, Hands, see_to_playwright

# Room for the page of 160 x 210 and its furniture beside it; the mouse is parked outside of all of it.
VIEWPORT = (330, 310)
PARKED = (310, 290)
# A button let go that was never pressed: it moves the mouse at once, where a move waits for the next frame.
_PARK = {"type": "mouseReleased", "x": PARKED[0], "y": PARKED[1], "button": "left", "clickCount": 0}
# A spin button covers the middle of a number field in this Chromium, where a click on the field goes.
_STYLE = "input::-webkit-inner-spin-button, input::-webkit-outer-spin-button { display: none; }"
_ADD_STYLE = f"""addEventListener("DOMContentLoaded", () => {{
  const style = document.createElement("style");
  style.textContent = {_STYLE!r};
  document.head.append(style);
}});"""
_PICTURE = re.compile(r"""url\(["']?([^"')]+\.(?:png|gif|jpe?g|svg))""")  # that a style names
# An icon that a style makes of a picture has no size until that is there; kept, it is there from the start.
_KEEP = """Promise.allSettled(%s.map((url) => {
  const picture = Object.assign(new Image(), { src: url });
  (window.envisionsPictures ??= []).push(picture);
  return picture.decode();
})).then(() => null)"""
_LOAD_LIMIT_MS = 20_000
_WINDOW_LIMIT_S = 2.0
DISMISSED = "the page showed a dialog, which was dismissed: {}"
# Playwright, here and in its driver, keeps an object for every request of a tab until that is closed.
_MOST_LOADS = 50


class ScriptError(PlaywrightError):
    """A script of the page, or one that was asked of it, raised."""


class Tab:
    """One tab at a time of `chromium`, which may request nothing outside of `folder`.

    port: of Chromium's DevTools, if it has one: how a tab is then asked and touched is told in devtools.py.
    page: Playwright's own, for single keys and screenshots.
    hands: ask and touch the page.
    path: of the page that is loaded, as the page itself tells it.
    left_for: where the page is on its way to, "" for nowhere.
    refused_requests: how many so far.

    All methods raise Playwright's Error, also for a browser that is gone.
    """

    def __init__(self, chromium: Chromium, folder: Path, port: int | None = None) -> None:
        self.path = self.left_for = ""
        self._notes: list[str] = []
        self.refused_requests = 0
        self._is_loading, self._loads = True, 0
        self._windows: list[Page] = []  # that the page opened, as far as Playwright has told of them
        self._opened = 0  # how many there must be
        self._port = port
        # What a page may not ask for; what is in the page itself is no request.
        self._outside = re.compile(f"^(?!{re.escape(folder.as_uri())}/|data:|blob:|about:)")
        self._context = self._open_context(chromium, folder)
        self._open()

    def load(self, path: Path, *, afresh: bool) -> None:
        """Loads a page. `afresh`: in a new tab, because the old one may be of no use any more."""
        if afresh or self.page.is_closed() or self._loads >= _MOST_LOADS:
            self.hands.let_go()
            self.page.close()
            self._open()
        self._is_loading, self._loads = True, self._loads + 1
        self.page.goto(path.as_uri(), timeout=_LOAD_LIMIT_MS)
        self.page.request_gc()  # of the page before: left to itself, Chromium keeps a dozen of them
        self.path = self.evaluate("location.pathname")
        if pictures := sorted(set(_PICTURE.findall(path.read_text(encoding="utf-8", errors="replace")))):
            self.evaluate(_KEEP % json.dumps(pictures), is_promise=True)
        self._is_loading = False

    def evaluate(self, expression: str, *, is_promise: bool = False) -> Any:
        """The value of a JavaScript expression."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": is_promise}
        answer = self.hands.call("Runtime.evaluate", asked)
        if "exceptionDetails" in answer:
            raise ScriptError(answer["exceptionDetails"]["exception"].get("description", "no Error"))
        return answer["result"].get("value")

    def clear_clipboard(self) -> None:
        """Leaves nothing to paste: all tabs of a browser share a clipboard, so it outlives them."""
        self.evaluate("navigator.clipboard.writeText('')", is_promise=True)

    def park(self) -> None:
        """Takes the mouse away from the page, and forgets what the page did until now."""
        self.hands.call("Input.dispatchMouseEvent", _PARK)
        self.notice()
        self.left_for = ""

    def notice(self) -> list[str]:
        """What the page did beside itself since it was last asked; windows it opened are closed."""
        if self._opened:
            self._close_windows()
        notes, self._notes = self._notes, []
        return notes

    def _close_windows(self) -> None:
        """Playwright tells of a window some time after Chromium has opened it."""
        patience = time.monotonic() + _WINDOW_LIMIT_S
        while len(self._windows) < self._opened and time.monotonic() < patience:
            see_to_playwright(self._session)
        for window in self._windows:
            window.close()
        self._windows.clear()
        self._opened = 0

    def _open_context(self, chromium: Chromium, folder: Path) -> BrowserContext:
        width, height = VIEWPORT
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            offline=True,
            accept_downloads=False,
            service_workers="block",
            locale="en-US",
            timezone_id="UTC",
            reduced_motion="reduce",
            permissions=["clipboard-read", "clipboard-write"],
        )
        context.route(self._outside, lambda route: route.abort())
        context.add_init_script(path=Path(__file__).with_name("page.js"))
        context.add_init_script(_ADD_STYLE)
        return context

    def _open(self) -> None:
        self.page = page = self._context.new_page()
        self._session = session = self._context.new_cdp_session(page)
        self._frame = see_to_playwright(session)  # a tab and its main frame have one id
        if self._port:
            self.hands: Hands = Direct(session, self._frame, self._port, self._heed)
        else:
            self.hands = ByPlaywright(page, session, self._heed)
        self._loads = 0
        page.on("dialog", self._dismiss)
        page.on("popup", lambda window: self._windows.append(window))

    def _heed(self, event: Event, told: dict[str, Any]) -> None:
        """What Chromium tells of the page while it is asked or touched."""
        if event == "Page.windowOpen":
            self._opened += 1
            self._notes.append("the page opened a window, which was closed")
        elif event == "Page.downloadWillBegin":
            self._notes.append("the page offered a download: refused")
        elif event == "Network.webSocketCreated":
            self._note_refused(told["url"])
        elif event == "Network.requestWillBeSent":
            url = told["request"]["url"]
            if self._outside.match(url):
                self._note_refused(url)
            if told["type"] == "Document" and told["frameId"] == self._frame:
                self._leave_for(url)
        elif event == "Page.frameNavigated" and told["frame"]["id"] == self._frame:
            self._leave_for(told["frame"]["url"])

    def _leave_for(self, url: str) -> None:
        if not self._is_loading:
            self.left_for = url

    def _note_refused(self, url: str) -> None:
        self.refused_requests += 1
        self._notes.append(f"a request was refused: {url[:200]}")

    def _dismiss(self, dialog: Dialog) -> None:
        """One that asks whether to leave the page; page.js sees to the others."""
        self._notes.append(DISMISSED.format(dialog.message[:200]))
        dialog.dismiss()
