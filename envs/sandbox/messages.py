"""What a zygote's message about one program means, as far as that is the same in every environment."""

import json
import signal
from typing import Any

from envs.base import Outcome

_ERROR_LIMIT = 500


def read_answer(message: dict[str, Any]) -> dict[str, Any] | Outcome:
    """What the program's child said, or the outcome if it said nothing that could be an answer.

    `message["answer"]` was written by untrusted code: whoever reads the fields checks them.
    """
    status, seconds, output = message["status"], message["seconds"], message.get("output", "")
    if status in ("infrastructure", "unconfined"):
        return Outcome("infrastructure", None, output, f"the sandbox failed twice ({status})", seconds)
    if status == "timeout":
        return Outcome("timeout", None, output, "the program did not end within its time limit", seconds)
    if status == "output":
        return Outcome("error", None, output, "the program wrote too much", seconds)
    if status == "exited":
        return Outcome("error", None, output, _ending(message["code"]), seconds)
    said = said_by(message)
    for kind in ("invalid", "error"):
        if isinstance(said.get(kind), str):
            return Outcome(kind, None, output, said[kind][:_ERROR_LIMIT], seconds)
    return said


def said_by(message: dict[str, Any]) -> dict[str, Any]:
    """The object in a child's line, {} if it is none."""
    try:
        said = json.loads(message["answer"])
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _ending(code: int) -> str:
    if code >= 0:
        return f"the program exited with status {code} before it gave an answer"
    known = {number.value: number.name for number in signal.Signals}
    return f"the program was killed by {known.get(-code, f'signal {-code}')}"
