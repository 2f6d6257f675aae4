"""What a configuration must satisfy before anything heavy starts.

The rules see the flat form of a config, `{"sampler.k": 5, ...}` (`config.flatten`), so that a message names
the key as the user would set it. Rules that need the model or the prompts (is a prompt longer than the
context?) are checked where those are first known, in `main` and `loop`.
"""

import difflib
import math
from collections.abc import Mapping
from typing import Any

from envisions_jax.demonstrations import LOGIC_DEMONSTRATIONS, MATH_DEMONSTRATIONS
from envisions_jax.models.config import ModelError
from envisions_jax.models.locating import on_this_machine
from envisions_jax.sampling.results import MOST_BEAMS
from envisions_jax.tasks import DOMAINS, MADE, NAMES
from envs.base import MOST_WORKERS
from envs.web.pages import PAPER_TASKS, SEEDS_PER_ITERATION, TEST_SEEDS


class ConfigError(ValueError):
    """A configuration that cannot work; its message is one line for the user."""


_AT_LEAST_ONE = (
    *("model.context", "env.workers", "sampler.k", "sampler.max_new_tokens"),
    *("sampler.shard_tasks", "train.batch_size", "train.epochs", "train.rows"),
    *("eval.beams", "eval.max_new_tokens", "eval.shard_tasks", "loop.iterations", "checkpoint.keep"),
    *("loop.cold_start_examples", "loop.cold_start_epochs"),
)
_NOT_NEGATIVE = (
    *("seed", "tasks.train_size", "tasks.test_size", "tasks.seed", "prompt.shots"),
    *("sampler.slots", "train.row_length", "train.weight_decay", "train.lora_rank", "checkpoint.every_steps"),
)
_STYLES = {"web": ("web",), "logic": ("logic", "logic_short"), "python": ("expression", "function", "pal")}
_DOMAINS = {"python": "math", "logic": "logic"}  # of the data sets that an environment can judge
# Sections and keys that not every env.name has a use for, and those that have.
_READ_BY = {
    "web": ("web",),
    "logic": ("logic",),
    "theories": ("logic",),
    **dict.fromkeys(("env.sandbox", "env.memory_limit_mb", "tasks.fresh"), ("python", "logic")),
}
_MOST_TURNS = 20  # of an episode, which is played from its beginning for each look
_POSITIVE = ("sampler.temperature", "train.learning_rate", "train.clip_norm", "train.lora_alpha")


def validate(flat: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a value or a combination that cannot work."""
    for key in _AT_LEAST_ONE:
        _require(flat[key] >= 1, flat, key, "must be at least 1")
    for key in _POSITIVE:
        _require(0 < flat[key] < float("inf"), flat, key, "must be a positive, finite number")
    for key in flat:
        _require(_is_finite(flat[key]), flat, key, "must be a finite number")
    for key in _NOT_NEGATIVE:
        _require(flat[key] >= 0, flat, key, "must not be negative")
    for key in ("seed", "tasks.seed"):
        _require(flat[key] < 2**31, flat, key, "must be below 2^31")
    _require(flat["env.workers"] <= MOST_WORKERS, flat, "env.workers", f"must be at most {MOST_WORKERS}")
    _require(flat["eval.beams"] <= MOST_BEAMS, flat, "eval.beams", f"must be at most {MOST_BEAMS}")
    megabytes, seconds = flat["env.memory_limit_mb"], flat["env.time_limit_s"]
    _require(16 <= megabytes <= 2**20, flat, "env.memory_limit_mb", "must be from 16 to 1048576 (1 TiB)")
    _require(0 < seconds <= 3600, flat, "env.time_limit_s", "must be a positive number, at most 3600")
    is_web = flat["env.name"] == "web"
    styles = _STYLES[flat["env.name"]]
    why = f"does not go with env.name={flat['env.name']!r}; choose {' or '.join(styles)}"
    _require(flat["prompt.style"] in styles, flat, "prompt.style", why)
    _validate_shots(flat)
    _require(0 < flat["sampler.top_p"] <= 1, flat, "sampler.top_p", "must be in (0, 1]")
    _require(0 <= flat["train.warmup_ratio"] < 1, flat, "train.warmup_ratio", "must be in [0, 1)")
    if is_web:
        _validate_pages(flat)
    else:
        _validate_tasks(flat)
    _validate_lengths(flat)
    good = flat["loop.refine"] or not flat["selection.l2"]
    _require(good, flat, "loop.refine", "without refinement there is no L2: set selection.l2=False too")


def refuse_unused(flat: Mapping[str, Any], default: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a setting that would change nothing: of another domain, of LoRA without it."""
    name, alpha = flat["env.name"], "train.lora_alpha"
    has_lora = flat["train.lora_rank"] != 0
    _require(has_lora or flat[alpha] == default[alpha], flat, alpha, "has no effect without train.lora_rank")
    for key, value in flat.items():
        readers = _READ_BY.get(key) or _READ_BY.get(key.partition(".")[0], (name,))
        why = f"has no effect with env.name={name!r}; leave it out"
        _require(name in readers or value == default[key], flat, key, why)
        if key.startswith("theories.") and not _makes_theories(flat):
            why = "has no effect without theories to train or test on, or to start from; leave it out"
            _require(value == default[key], flat, key, why)


def _makes_theories(flat: Mapping[str, Any]) -> bool:
    sets = {name.partition(":")[0] for name in (*flat["tasks.train"], *flat["tasks.test"])}
    return "theories" in sets or flat["loop.cold_start"] == "demonstrations"


def _validate_shots(flat: Mapping[str, Any]) -> None:
    """No more demonstrations than there are, and gold programs where a cold start needs them."""
    of_logic, of_math = len(LOGIC_DEMONSTRATIONS), len(MATH_DEMONSTRATIONS)
    most, told = {
        "web": (1, "there is one demonstration of each page"),
        "logic": (of_logic, f"there is {of_logic} demonstration"),
        "python": (of_math, f"there are {of_math} demonstrations"),
    }[flat["env.name"]]
    _require(flat["prompt.shots"] <= most, flat, "prompt.shots", told)
    has_gold = flat["env.name"] != "web" or flat["loop.cold_start"] != "demonstrations"
    _require(has_gold, flat, "loop.cold_start", "no programs of pages can be generated; choose 'few_shot'")


def check_model(path: str, key: str = "model.path") -> None:
    """Raise `ConfigError` where no model is and none could be downloaded from."""
    try:
        on_this_machine(path)
    except ModelError as error:
        raise ConfigError(f"{key}={path}: {error}") from error


def _validate_tasks(flat: Mapping[str, Any]) -> None:
    for split in ("train", "test"):
        names = flat[f"tasks.{split}"]
        _require(len(names) > 0, flat, f"tasks.{split}", "name at least one data set")
        for name in names:
            _check_data_set(flat, f"tasks.{split}", name)
        _require(len(set(names)) == len(names), flat, f"tasks.{split}", "names a data set twice")
        sized = flat[f"tasks.{split}_size"] > 0 or not {n.partition(":")[0] for n in names} & set(MADE)
        _require(sized, flat, f"tasks.{split}_size", "the task generator needs to know how many to make")
    are_made = set(flat["tasks.train"]) <= set(MADE)
    why = (
        f"only generated problems are as many as are asked for; name {' or '.join(MADE)}, without a split, "
        "or set tasks.fresh=False"
    )
    _require(are_made or not flat["tasks.fresh"], flat, "tasks.fresh", why)
    steps = flat["tasks.steps"]
    good = 1 <= len(steps) <= 4 and all(0 <= share < float("inf") for share in steps) and sum(steps) > 0
    _require(good, flat, "tasks.steps", "give 1 to 4 shares, not negative, not all zero")


def _validate_pages(flat: Mapping[str, Any]) -> None:
    """The web's tasks: pages by name, "paper" alone for those of the paper."""
    for split, most in (("train", SEEDS_PER_ITERATION), ("test", len(TEST_SEEDS))):
        names = flat[f"tasks.{split}"]
        _require(len(names) > 0, flat, f"tasks.{split}", "name at least one page, or 'paper'")
        _require(len(set(names)) == len(names), flat, f"tasks.{split}", "names a page twice")
        alone = "paper" not in names or len(names) == 1
        _require(alone, flat, f"tasks.{split}", "'paper' stands for 44 pages, and stands alone")
        for name in names:
            near = difflib.get_close_matches(name, (*PAPER_TASKS, "paper"), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]}?" if near else "name pages of MiniWoB++, or 'paper' for its 44"
            is_page = name == "paper" or name in PAPER_TASKS
            _require(is_page, flat, f"tasks.{split}", f"no page that has a demonstration is {name!r}; {hint}")
        size = flat[f"tasks.{split}_size"]
        _require(size <= most, flat, f"tasks.{split}_size", f"there are {most} seeds of a page")
    most = TEST_SEEDS[0] // SEEDS_PER_ITERATION
    _require(
        flat["loop.iterations"] <= most,
        flat,
        "loop.iterations",
        f"the seeds of iteration {most} are those of the tests: at most {most}",
    )
    _require(not flat["tasks.path"], flat, "tasks.path", "the web's tasks are pages, not files")
    _require(flat["web.most_tokens"] >= 50, flat, "web.most_tokens", "must be at least 50")
    _require(1 <= flat["web.turns"] <= _MOST_TURNS, flat, "web.turns", f"must be from 1 to {_MOST_TURNS}")


def _check_data_set(flat: Mapping[str, Any], key: str, name: str) -> None:
    plain = name.partition(":")[0]
    near = difflib.get_close_matches(plain, NAMES, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]}?" if near else f"choose from {', '.join(NAMES)}"
    _require(plain in NAMES, flat, key, f"no data set is called {plain!r}; {hint}")
    wanted = _DOMAINS[flat["env.name"]]
    names = ", ".join(name for name in NAMES if DOMAINS[name] == wanted)
    why = f"{plain!r} is a set of {DOMAINS[plain]}, env.name={flat['env.name']!r} judges {wanted}: {names}"
    _require(DOMAINS[plain] == wanted, flat, key, why)


def _is_finite(value: Any) -> bool:
    if isinstance(value, tuple):
        return all(map(_is_finite, value))
    return not isinstance(value, float) or math.isfinite(value)


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
