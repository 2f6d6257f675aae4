"""What a configuration must satisfy before anything heavy starts.

The rules see the flat form of a config, `{"sampler.k": 5, ...}` (`config.flatten`), so that a message names
the key as the user would set it. Rules that need the model or the prompts (is a prompt longer than the
context?) are checked where those are first known, in `main` and `loop`.
"""

from collections.abc import Mapping
from typing import Any


class ConfigError(ValueError):
    """A configuration that cannot work; its message is one line for the user."""


_AT_LEAST_ONE = (
    *("model.context", "env.workers", "env.memory_limit_mb", "sampler.k", "sampler.max_new_tokens"),
    *("sampler.shard_tasks", "train.batch_size", "train.epochs", "train.row_length", "train.rows"),
    *("eval.beams", "eval.max_new_tokens", "eval.shard_tasks", "loop.iterations", "checkpoint.keep"),
)
_NOT_NEGATIVE = (
    *("seed", "tasks.train_size", "tasks.test_size", "tasks.seed", "prompt.shots"),
    *("sampler.slots", "train.weight_decay", "checkpoint.every_steps"),
)
_POSITIVE = ("env.time_limit_s", "sampler.temperature", "train.learning_rate", "train.clip_norm")


def validate(flat: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a value or a combination that cannot work."""
    for key in _AT_LEAST_ONE:
        _require(flat[key] >= 1, flat, key, "must be at least 1")
    for key in _NOT_NEGATIVE:
        _require(flat[key] >= 0, flat, key, "must not be negative")
    for key in _POSITIVE:
        _require(0 < flat[key] < float("inf"), flat, key, "must be a positive number")
    _require(flat["seed"] < 2**31, flat, "seed", "must be below 2^31")
    _require(0 < flat["sampler.top_p"] <= 1, flat, "sampler.top_p", "must be in (0, 1]")
    _require(0 <= flat["train.warmup_ratio"] < 1, flat, "train.warmup_ratio", "must be in [0, 1)")
    _validate_tasks(flat)
    _validate_lengths(flat)
    good = flat["loop.refine"] or not flat["selection.l2"]
    _require(good, flat, "loop.refine", "without refinement there is no L2: set selection.l2=False too")


def _validate_tasks(flat: Mapping[str, Any]) -> None:
    _require(len(flat["tasks.train"]) > 0, flat, "tasks.train", "name at least one data set")
    for split in ("train", "test"):
        names = flat[f"tasks.{split}"]
        _require(len(set(names)) == len(names), flat, f"tasks.{split}", "names a data set twice")
        sized = flat[f"tasks.{split}_size"] > 0 or "generated" not in {n.partition(":")[0] for n in names}
        _require(sized, flat, f"tasks.{split}_size", "the task generator needs to know how many to make")
    steps = flat["tasks.steps"]
    good = 1 <= len(steps) <= 4 and all(0 <= share < float("inf") for share in steps) and sum(steps) > 0
    _require(good, flat, "tasks.steps", "give 1 to 4 shares, not negative, not all zero")


def _validate_lengths(flat: Mapping[str, Any]) -> None:
    context = flat["model.context"]
    for key in ("sampler.max_new_tokens", "eval.max_new_tokens"):
        _require(flat[key] < context, flat, key, f"leaves no room for a prompt in model.context={context}")
    longest = flat["train.max_length"]
    _require(longest >= 2, flat, "train.max_length", "must be at least 2, a token and one to predict from it")
    _require(longest <= context, flat, "train.max_length", f"exceeds model.context={context}")


def _require(condition: bool, flat: Mapping[str, Any], key: str, why: str) -> None:
    if not condition:
        raise ConfigError(f"{key}={flat[key]!r}: {why}")
