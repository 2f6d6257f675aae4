"""Environments by name: `make("python", workers=2)`."""

import inspect
from importlib import import_module
from typing import Any

from envs.base import Environment

# name -> (module, class); modules are imported on demand so that one domain never needs another's packages.
ENVIRONMENTS = {
    "logic": ("envs.logic.environment", "LogicEnvironment"),
    "python": ("envs.python", "PythonEnvironment"),
    "web": ("envs.web.environment", "WebEnvironment"),
}


def make(name: str, **options: Any) -> Environment:
    """The environment called `name`: "logic", "python" or "web"; `options` are those of its class.

    That is `envs.python.PythonEnvironment` (workers, time_limit_s, memory_limit_mb, …),
    `envs.logic.environment.LogicEnvironment` (engine, workers, time_limit_s, vacuous, relations, …) or
    `envs.web.environment.WebEnvironment` (workers, time_limit_s, success, observation, …).

    Raises ValueError for an unknown name, TypeError for an unknown option and EnvironmentFailure if the
    host cannot run it as asked.
    """
    if not isinstance(name, str) or name not in ENVIRONMENTS:
        raise ValueError(f"unknown environment {name!r}: choose one of {', '.join(sorted(ENVIRONMENTS))}")
    module, attribute = ENVIRONMENTS[name]
    kind = getattr(import_module(module), attribute)
    known = list(inspect.signature(kind).parameters)
    for option in options:
        if option not in known:
            raise TypeError(f"the {name} environment has no option {option!r}; it has {', '.join(known)}")
    environment: Environment = kind(**options)
    return environment
