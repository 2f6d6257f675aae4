"""Environments by name: `make("python", workers=2)`."""

from importlib import import_module
from typing import Any

from envs.base import Environment

# name -> (module, class); modules are imported on demand so that one domain never needs another's packages.
ENVIRONMENTS = {
    "python": ("envs.python", "PythonEnvironment"),
    "web": ("envs.web.environment", "WebEnvironment"),
}


def make(name: str, **options: Any) -> Environment:
    """The environment called `name`; `options` are those of its class.

    Raises ValueError for an unknown name, TypeError for an unknown option and EnvironmentFailure if the
    host cannot run it as asked.
    """
    if name not in ENVIRONMENTS:
        raise ValueError(f"unknown environment {name!r}: choose one of {', '.join(sorted(ENVIRONMENTS))}")
    module, attribute = ENVIRONMENTS[name]
    environment: Environment = getattr(import_module(module), attribute)(**options)
    return environment
