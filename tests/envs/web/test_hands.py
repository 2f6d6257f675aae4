"""A tab touched over our own connection sees what it sees of Playwright's keyboard and mouse."""

import json
import string
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import BrowserContext, Page, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from envs.web.chromium import ARGUMENTS, find_chromium
from envs.web.devtools import ByPlaywright, Direct, Hands, free_port, see_to_playwright

pytestmark = pytest.mark.browser
_PAGE = """<textarea id="field" style="position: absolute; left: 10px; top: 10px"></textarea>
<button style="position: absolute; left: 10px; top: 100px">Button</button>
<script>
  const seen = [];
  const KEYS = ["key", "code", "keyCode", "charCode", "which", "location", "shiftKey", "ctrlKey", "repeat",
                "inputType", "data", "isComposing", "x", "y", "button", "buttons", "detail", "pressure",
                "pointerType", "isTrusted"];
  const TYPES = ["keydown", "keypress", "keyup", "beforeinput", "input", "change", "focus", "blur", "click",
                 "mousemove", "mousedown", "mouseup", "mouseover", "mouseout", "pointerdown", "pointerup",
                 "pointermove", "dblclick", "contextmenu"];
  for (const type of TYPES) {
    addEventListener(type, (event) => {
      const told = KEYS.filter((key) => event[key] !== undefined).map((key) => [key, event[key]]);
      seen.push([type, event.target.id, told, document.activeElement.id, field.value]);
    }, true);
  }
</script>"""
_TEXT = string.digits + string.ascii_letters + string.punctuation + " é→語\n😀\t\r"


def _ignore(event: str, told: dict[str, Any]) -> None:
    pass


@dataclass
class Tabs:
    """Tabs of one browser, and both ways to touch one."""

    context: BrowserContext
    port: int

    def open(self) -> tuple[Page, list[Hands]]:
        page = self.context.new_page()
        session = self.context.new_cdp_session(page)
        direct = Direct(session, see_to_playwright(session), self.port, _ignore)
        return page, [ByPlaywright(page, session, _ignore), direct]


@pytest.fixture(scope="module")
def tabs() -> Iterator[Tabs]:
    port = free_port()
    arguments = [*ARGUMENTS, f"--remote-debugging-port={port}"]
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(
            executable_path=find_chromium(), args=arguments, chromium_sandbox=False
        )
        yield Tabs(chromium.new_context(), port)
        chromium.close()


def _seen(page: Page, hands: Hands, deeds: str) -> list[Any]:
    """What a new page sees of deeds, "click 10 20" or "type …" one a line."""
    page.set_content(_PAGE)
    for name, _, argument in (deed.partition(" ") for deed in deeds.split("; ")):
        if name == "type":
            hands.type(json.loads(argument))
        else:
            getattr(hands, name)(*map(float, argument.split()))
    asked = {"expression": "[field.value, seen]", "returnByValue": True}
    value, seen = hands.call("Runtime.evaluate", asked)["result"]["value"]
    return [value, *seen]


@pytest.mark.parametrize(
    "deeds",
    [
        f"click 20 20; type {json.dumps(_TEXT)}",
        'type "nobody listens"; click 20 110; type " "',
        "move 20 110; click 20 20; click 20.5 110.25; click 20 110; click 320 290; move 20 20",
    ],
)
def test_a_page_sees_the_same_of_both(tabs: Tabs, deeds: str) -> None:
    page, hands = tabs.open()
    expected, seen = (_seen(page, one, deeds) for one in hands)
    assert len(expected) > 5
    assert seen == expected


def test_a_call_that_chromium_refuses_raises(tabs: Tabs) -> None:
    for hands in tabs.open()[1]:
        with pytest.raises(PlaywrightError, match="wasn't found"):
            hands.call("Input.tickle", {})


def test_a_tab_that_is_gone_raises(tabs: Tabs) -> None:
    page, hands = tabs.open()
    page.close()
    for one in hands:
        with pytest.raises(PlaywrightError, match="closed"):
            one.call("Runtime.evaluate", {"expression": "1"})


def test_a_page_that_crashes_raises(tabs: Tabs) -> None:
    _, (_, direct) = tabs.open()
    with pytest.raises(PlaywrightError, match="crashed"):
        direct.call("Page.crash", {})
