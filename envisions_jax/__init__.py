"""ENVISIONS (arXiv 2406.11736) in JAX: a LLaMA teaches itself to write symbolic solutions.

``envisions_jax.Policy`` is the public entry; it is imported on first use, so that programs that only
need the task or store modules never pay for JAX.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from envisions_jax.policy import Policy

__version__ = "0.1.0"
__all__ = ["Policy", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Policy":
        from envisions_jax.policy import Policy

        return Policy
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
