"""Plays episodes of three pages through another project's environment; runs in a Python of its own.

    python play.py miniwob|browsergym|browsergym-undelayed

Reads one JSON job a line, {"page": ..., "seeds": [...]}, from stdin, and answers one line a job,
{"solved": n}, after a first one, {"ready": true}. What is done to a page is what our programs do, in the same
order, on the elements that the environment itself shows; BrowserGym fills a field at once, as its agents do,
where the others click into it and type.
"""

from __future__ import annotations

import json
import os
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

PAGES = ("click-test", "click-checkboxes", "search-engine")


@dataclass(frozen=True)
class Step:
    """Click on the `nth` element of this kind and text, then type."""

    tag: str
    text: str = ""
    nth: int = 0
    typed: str = ""


def steps(page: str, utterance: str) -> list[Step]:
    """What solves a page, from its utterance."""
    if page == "click-test":
        return [Step("button")]
    if page == "click-checkboxes":
        names = re.findall("Select (.*) and click Submit", utterance)[0]
        chosen = [] if names == "nothing" else names.split(", ")
        return [*(Step("checkbox", name) for name in chosen), Step("button", "Submit")]
    name, place = re.findall(r'enter "(.*?)" and .* click the (\d+)', utterance)[0]
    number = int(place) - 1
    turning = [Step("a", str(number // 3 + 1))] if number >= 3 else []
    return [Step("field", typed=name), Step("button", "Search"), *turning, Step("result", nth=number % 3)]


class Peer(ABC):
    """One environment at a time, made anew for another page, as both packages ask for."""

    def __init__(self) -> None:
        self._page = ""
        self._environment: Any = None

    def play(self, page: str, seed: int) -> bool:
        """Whether the episode was solved."""
        if page != self._page:
            self.close()
            self._page, self._environment = page, self._make(page)
        seen, _ = self._environment.reset(seed=seed)
        for step in steps(page, str(seen[self._utterance])):
            for action in self._actions(seen, step):
                seen, reward, done, _, _ = self._environment.step(action)
                if done:
                    return self._is_solved(reward)
        return False

    def _is_solved(self, reward: float) -> bool:
        return reward > 0

    def close(self) -> None:
        if self._environment is not None:
            self._environment.close()

    _utterance: str  # its name in what the environment shows

    @abstractmethod
    def _make(self, page: str) -> Any:
        """The environment of a page."""

    @abstractmethod
    def _actions(self, seen: Any, step: Step) -> list[Any]:
        """A step in the environment's terms."""


class MiniWob(Peer):
    """The official package: Gymnasium and Selenium."""

    _utterance = "utterance"

    def _make(self, page: str) -> Any:
        import gymnasium
        import miniwob

        gymnasium.register_envs(miniwob)
        environment: Any = gymnasium.make(f"miniwob/{page}-v1")
        environment.unwrapped.set_record_screenshots(False)  # ours takes none either
        return environment

    def _actions(self, seen: Any, step: Step) -> list[Any]:
        from miniwob.action import ActionTypes

        make = self._environment.unwrapped.create_action
        actions = [make(ActionTypes.CLICK_ELEMENT, ref=self._find(seen["dom_elements"], step))]
        if step.typed:
            actions.append(make(ActionTypes.TYPE_TEXT, text=step.typed))
        return actions

    @staticmethod
    def _find(elements: Any, step: Step) -> int:
        if step.tag == "checkbox":
            text = next(one for one in elements if one["text"] == step.text)
            around = {text["ref"], text["parent"]}
            found = [e for e in elements if e["tag"] == "input_checkbox" and e["parent"] in around]
        elif step.tag == "field":
            found = [one for one in elements if one["tag"] == "input_text"]
        elif step.tag == "result":
            found = [one for one in elements if "search-title" in one["classes"]]
        else:
            found = [e for e in elements if e["tag"] == step.tag and step.text in ("", e["text"])]
        return int(found[step.nth]["ref"])


class BrowserGym(Peer):
    """BrowserGym, with the settings that it comes with: it waits 0.5 s before each look at a page, and 0.1 s
    around each step of the browser.
    """

    _utterance = "goal"

    def __init__(self) -> None:
        super().__init__()
        from playwright.sync_api import BrowserType

        # It has a second browser, for a chat window, and starts both with Playwright's own Chromium.
        launch, executable = BrowserType.launch, os.environ["PEER_CHROMIUM"]
        patched: Any = BrowserType
        patched.launch = lambda kind, **options: launch(kind, **{**options, "executable_path": executable})

    def _make(self, page: str) -> Any:
        import browsergym.miniwob  # registers its environments
        import gymnasium
        import miniwob

        assert browsergym.miniwob.ALL_MINIWOB_TASKS
        folder = os.path.join(os.path.dirname(miniwob.__file__), "html", "miniwob")
        os.environ["MINIWOB_URL"] = f"file://{folder}/"
        return gymnasium.make(f"browsergym/miniwob.{page}", **self._delays)

    def _is_solved(self, reward: float) -> bool:
        # Asked of the page: BrowserGym takes a click on a link to "#" for leaving it, and gives nothing.
        return bool(self._environment.unwrapped.page.evaluate("WOB_RAW_REWARD_GLOBAL > 0"))

    _delays: Mapping[str, Any] = MappingProxyType({})

    def _actions(self, seen: Any, step: Step) -> list[Any]:
        from browsergym.utils.obs import flatten_dom_to_str

        bid = self._find(flatten_dom_to_str(seen["dom_object"]), step)
        return [f"fill({bid!r}, {step.typed!r})" if step.typed else f"click({bid!r})"]

    @staticmethod
    def _find(markup: str, step: Step) -> str:
        text = rf"\s*{re.escape(step.text)}\s*<" if step.text else ""
        patterns = {
            "checkbox": rf'<label[^>]*>\s*<input bid="(\w+)"[^>]*type="checkbox"[^>]*>{text}',
            "field": r'<input bid="(\w+)"[^>]*type="text"',
            "result": r'<a bid="(\w+)" class="search-title"',
        }
        pattern = patterns.get(step.tag, rf'<{step.tag} bid="(\w+)"[^>]*>{text}')
        return str(re.findall(pattern, markup)[step.nth])


class BrowserGymUndelayed(BrowserGym):
    """The same without its delays."""

    _delays = MappingProxyType({"pre_observation_delay": 0.0, "slow_mo": 0})


def main() -> None:
    kinds: dict[str, type[Peer]] = {
        "miniwob": MiniWob,
        "browsergym": BrowserGym,
        "browsergym-undelayed": BrowserGymUndelayed,
    }
    peer = kinds[sys.argv[1]]()
    answers = os.fdopen(os.dup(1), "w")  # what the libraries print goes to stderr
    os.dup2(2, 1)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    try:
        for line in sys.stdin:
            job = json.loads(line)
            solved = sum(peer.play(job["page"], seed) for seed in job["seeds"])
            print(json.dumps({"solved": solved}), file=answers, flush=True)
    finally:
        peer.close()


if __name__ == "__main__":
    main()
