"""The tab that episodes are played in: loading pages, asking them, and what they do beside that."""

import re
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Dialog, Page, Request, Route
from playwright.sync_api import Error as PlaywrightError

from envs.web.devtools import ByPlaywright, Direct, Hands

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
_LOAD_LIMIT_MS = 20_000
# Playwright, here and in its driver, keeps an object for every request of a tab until that is closed.
_MOST_LOADS = 50


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
        self._windows: list[Page] = []  # that the page opened
        self._port = port
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
        self.hands.heed()
        self._is_loading = False

    def evaluate(self, expression: str, *, is_promise: bool = False) -> Any:
        """The value of a JavaScript expression; two thirds of the time of Playwright's own `evaluate`."""
        asked = {"expression": expression, "returnByValue": True, "awaitPromise": is_promise}
        answer = self.hands.call("Runtime.evaluate", asked)
        if "exceptionDetails" in answer:
            raise PlaywrightError(answer["exceptionDetails"]["exception"].get("description", "no Error"))
        return answer["result"].get("value")

    def clear_clipboard(self) -> None:
        """Leaves nothing to paste: all tabs of a browser share a clipboard, so it outlives them."""
        self.evaluate("navigator.clipboard.writeText('')", is_promise=True)

    def park(self) -> None:
        """Takes the mouse away from the page, and forgets what the page did until now."""
        self.hands.call("Input.dispatchMouseEvent", _PARK)
        self.hands.heed()
        self._notes.clear()
        self.left_for = ""

    def notice(self) -> list[str]:
        """What the page did beside itself since it was last asked; windows it opened are closed."""
        self.hands.heed()
        for window in self._windows:
            window.close()
        self._windows.clear()
        notes, self._notes = self._notes, []
        return notes

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
        context.route(re.compile(f"^(?!{re.escape(folder.as_uri())}/)"), self._refuse)
        context.add_init_script(path=Path(__file__).with_name("page.js"))
        context.add_init_script(_ADD_STYLE)
        return context

    def _open(self) -> None:
        self.page = page = self._context.new_page()
        session = self._context.new_cdp_session(page)
        self.hands: Hands = Direct(session, self._port) if self._port else ByPlaywright(page, session)
        self._loads = 0
        page.on("dialog", self._dismiss)
        page.on("popup", self._note_window)
        page.on("request", self._note_request)
        page.on("download", lambda download: self._notes.append("the page offered a download: refused"))

    def _refuse(self, route: Route) -> None:
        self.refused_requests += 1
        self._notes.append(f"a request was refused: {route.request.url[:200]}")
        route.abort()

    def _dismiss(self, dialog: Dialog) -> None:
        self._notes.append(f"the page showed a dialog, which was dismissed: {dialog.message[:200]}")
        dialog.dismiss()

    def _note_request(self, request: Request) -> None:
        if not self._is_loading and request.is_navigation_request() and request.frame == self.page.main_frame:
            self.left_for = request.url

    def _note_window(self, window: Page) -> None:
        self._notes.append("the page opened a window, which was closed")
        self._windows.append(window)
