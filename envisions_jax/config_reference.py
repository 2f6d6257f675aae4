"""Where the released code differs from the paper: what `compat="reference"` sets.

It also takes the authors' labels of MATH, faults included (`envisions_jax.tasks`).
"""

from typing import Any

REFERENCE: dict[str, Any] = {
    "selection.merge": "reference",
    "selection.hold_back": True,
    "selection.dedup": "global",
    "selection.quote_question_iterations": 3,
    "loop.self_reward": "generation_prompt",
}
# What they do otherwise than for mathematics: positives need not quote their question, and the web has fewer.
_REFERENCE_OF: dict[str, dict[str, Any]] = {
    "web": {
        "selection.quote_question_iterations": 0,
        "selection.n1": 2,
        "web.success": "above_0.8",
        "web.observation": "html",
    },
    "logic": {
        "selection.quote_question_iterations": 0,
        "logic.vacuous": "by_answer",
        "logic.relations": "unknown",
    },
}


def reference(environment: str) -> dict[str, Any]:
    """The settings by dotted key, for the domain of `env.name`."""
    return REFERENCE | _REFERENCE_OF.get(environment, {})
