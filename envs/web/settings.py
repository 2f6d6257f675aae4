"""What a web worker is told when it starts."""

import json
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class WebSettings:
    """One worker's orders, passed as JSON on its command line.

    executable: the Chromium to drive.
    pages: the folder of the pages (`envs.web.pages.Pages`).
    mode: MiniWoB++'s distribution of problems, "train" or "test".
    time_limit_s: wall-clock seconds an episode gets.
    shows_utterance: whether XPaths may find the utterance, which the clean form of a page leaves out.
    reload_after, recycle_after: episodes after which a page is loaded anew and a browser replaced.
    """

    executable: str
    pages: str
    mode: str = "train"
    time_limit_s: float = 10.0
    reload_after: int = 200
    recycle_after: int = 1000
    shows_utterance: bool = False

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        return cls(**json.loads(text))
