"""Starting a Chromium, and what goes wrong with one."""

import re
from typing import Any

from playwright.sync_api import Browser as Chromium
from playwright.sync_api import Error as PlaywrightError
from playwright.sync_api import Playwright

from envs.web.chromium import ARGUMENTS

_LIMIT_MS = 30_000  # it starts within a second, on a busy machine within ten


class BrowserLost(RuntimeError):
    """The browser, or the process behind the page, died or was killed: the episode must be run again."""


def start_chromium(playwright: Playwright, executable: str, port: int | None) -> Chromium:
    """A Chromium, with its DevTools on `port` of this machine if that is given. Raises BrowserLost."""
    arguments = [*ARGUMENTS, f"--remote-debugging-port={port}"] if port else [*ARGUMENTS]
    try:
        return playwright.chromium.launch(
            executable_path=executable, args=arguments, timeout=_LIMIT_MS, chromium_sandbox=False
        )
    except PlaywrightError as error:
        raise BrowserLost(f"Chromium ({executable}) does not start: {_last_words(error)}") from error


def first_line(error: Any) -> str:
    return str(error).strip().split("\n", 1)[0][:300]


def _last_words(error: Any) -> str:
    """What a Chromium that did not start wrote to stderr, which Playwright's message quotes."""
    said = re.findall(r"\[err\] (.*)", str(error))
    return " ".join(said[-3:])[:300] or first_line(error)
