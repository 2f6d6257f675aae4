"""The tasks of a run, as its config wants them, and that training and test sets go together. No JAX.

Those of mathematics and logic are loaded here; those of the web are pages, which the environment shows later.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib.util import find_spec

from envisions_jax import tasks
from envisions_jax.command_line import RunError
from envisions_jax.config import Config
from envisions_jax.config_rules import ConfigError
from envisions_jax.train_tasks import NewTasks, SameTasks, TrainTasks
from envs import EnvironmentFailure, Task
from envs.memory import memory_mib
from envs.web.chromium import find_chromium
from envs.web.memory import check_workers
from envs.web.pages import SEEDS_PER_ITERATION, TEST_SEEDS, Pages, pages_of

MOST_REPEATED = 0.1  # share of a test set whose questions the same set's training split may have too


@dataclass(frozen=True)
class GivenTasks:
    """What is known of a run's tasks before its model is loaded; nothing but `told` of the web's."""

    told: str  # how many there are, for the user
    train: TrainTasks = field(default_factory=lambda: SameTasks(()))
    tests: Mapping[str, Sequence[Task]] = field(default_factory=dict)
    gold: Sequence[Task] = ()  # generated ones whose gold programs a cold start learns from


def given_tasks(config: Config, *, train: bool = True) -> GivenTasks:
    """The tasks, or that there can be any; those to train on only if asked for.

    Raises RunError for data that cannot be had and ConfigError for sets that do not go together.
    """
    if config.env.name == "web":
        return _given_pages(config)
    if config.env.name == "logic" and config.logic.engine == "pyke" and find_spec("pyke") is None:
        raise RunError(
            "logic.engine='pyke': Pyke is not installed; install the extra `logic` "
            "(pip install 'envisions-jax[logic]'), or set logic.engine='forward'"
        )
    sets, tests = train_sets(config) if train else {}, test_tasks(config)
    check_sets(sets, tests)
    trained, count = [task for group in sets.values() for task in group], sum(map(len, tests.values()))
    chosen: TrainTasks = SameTasks(trained)
    told = f"{len(trained)} tasks to train on"
    if train and config.tasks.fresh:
        chosen = NewTasks(list(sets.values()), config.loop.iterations)
        told += f" ({len(chosen.explored(0))} new ones in each of {config.loop.iterations} iterations)"
    given = GivenTasks(f"{told}, {count} to test on", chosen, tests)
    if not train or config.loop.cold_start != "demonstrations":
        return given
    gold = cold_start_tasks(config, trained, [task for group in tests.values() for task in group])
    return replace(given, gold=gold, told=f"{given.told}, {len(gold)} demonstrations to start from")


def _given_pages(config: Config) -> GivenTasks:
    """That pages and a browser are there and memory for all of them, told before JAX starts."""
    try:
        check_workers(config.env.workers, memory_mib())
    except ValueError as error:
        raise ConfigError(f"env.{error}") from error
    try:
        Pages()
        find_chromium(config.web.chromium)
    except EnvironmentFailure as error:
        raise RunError(str(error)) from error
    seeds = config.tasks.train_size or SEEDS_PER_ITERATION
    tests = config.tasks.test_size or len(TEST_SEEDS)
    train, test = pages_of(config.tasks.train), pages_of(config.tasks.test)
    return GivenTasks(
        f"{len(train)} pages to train on with {seeds} new seeds each an iteration, "
        f"{len(test)} to test on with {tests} seeds"
    )


def train_sets(config: Config) -> dict[str, list[Task]]:
    """Tasks to train on, by data set as the config names it. Raises RunError."""
    return {name: load_set(config, name, "train") for name in config.tasks.train}


def test_tasks(config: Config) -> dict[str, list[Task]]:
    """Tasks to test on, by data set, split left out of its name where it is clear. Raises RunError."""
    short = [name.partition(":")[0] for name in config.tasks.test]
    return {
        brief if short.count(brief) == 1 else name: load_set(config, name, "test")
        for name, brief in zip(config.tasks.test, short, strict=True)
    }


def load_set(config: Config, name: str, split: str) -> list[Task]:
    """One data set: the part its name asks for, "asdiv:all[:700]", or `split`.

    Of fresh ones the tasks of all iterations; a larger set starts with the smaller one.

    Raises RunError for data that cannot be had, ConfigError for generated tasks that cannot be made.
    """
    settings = config.tasks
    size = settings.train_size if split == "train" else settings.test_size
    if split == "train" and settings.fresh:
        size *= config.loop.iterations
    options = _generator_options(config).get(name.partition(":")[0], {"compat": config.compat})
    is_made = name.partition(":")[0] in tasks.MADE
    path = None if is_made else settings.path or None
    try:
        return tasks.load(name, split, path, size or None, settings.seed, **options)
    except tasks.TaskError as error:
        raise (ConfigError if is_made else RunError)(str(error)) from error


def cold_start_tasks(config: Config, trained: Sequence[Task], tested: Sequence[Task]) -> list[Task]:
    """`loop.cold_start_examples` generated tasks of the run's domain, with gold programs.

    They come from the generator's training split with a seed of their own; none is trained or tested on.

    Raises ConfigError, also for theories of another world than those that are trained on.
    """
    name = "theories" if config.env.name == "logic" else "generated"
    worlds = {task.meta["world"] for task in trained if "world" in task.meta}
    if worlds - {config.theories.world}:
        raise ConfigError(
            f"theories.world={config.theories.world!r}: the cold start would demonstrate this world, but the "
            f"tasks to train on are of {' and '.join(sorted(worlds))} ones; set it to theirs, and train on "
            "tasks of one world"
        )
    digest = hashlib.sha256(f"cold start/{config.tasks.seed}".encode()).digest()
    taken = {(task.context, task.question) for task in (*trained, *tested)}
    count = size = config.loop.cold_start_examples
    while True:
        try:
            made = tasks.load(
                name, "train", None, size, int.from_bytes(digest[:4]), **_generator_options(config)[name]
            )
        except tasks.TaskError as error:
            raise ConfigError(f"loop.cold_start_examples={count}: {error}") from error
        left = [task for task in made if (task.context, task.question) not in taken]
        if len(left) >= count:
            return left[:count]
        size += count - len(left)


def _generator_options(config: Config) -> dict[str, dict[str, object]]:
    return {
        "generated": {"mix": config.tasks.steps, "level": config.tasks.difficulty},
        "theories": {"settings": config.theories},
    }


def check_sets(train: Mapping[str, Sequence[Task]], tests: Mapping[str, Sequence[Task]]) -> None:
    """Raise ConfigError if a task is trained on twice or also tested on, or if one id means two tasks.

    A question that a published set has twice under two ids, once in its training and once in its test split,
    is the set's own affair, up to `MOST_REPEATED` of the test split: more of them are one file read as both.
    The same question in two sets is refused.
    """
    owners: dict[str, str] = {}
    for name, group in train.items():
        for task in group:
            if task.id in owners:
                raise ConfigError(f"tasks.train: id {task.id} is in {owners[task.id]} and again in {name}")
            owners[task.id] = name
    trained: dict[tuple[str, str], list[str]] = {}
    for task in (task for group in train.values() for task in group):
        trained.setdefault((task.context, task.question), []).append(task.id)
    for name, group in tests.items():
        repeated = [task.id for task in group if (task.context, task.question) in trained]
        for task in group:
            for other in trained.get((task.context, task.question), ()):
                if other == task.id or _data_set(owners[other]) != _data_set(name):
                    raise ConfigError(
                        f"tasks.test: {task.id} of {name} is also trained on, as {other} of {owners[other]}; "
                        "test on another set or split"
                    )
        if len(repeated) > MOST_REPEATED * len(group):
            raise ConfigError(
                f"tasks.test: {len(repeated)} of the {len(group)} tasks of {name} are also trained on, under "
                f"other ids ({repeated[0]} is the first): is one file read as both? Test on another file, or "
                f"cut it in two with slices, such as {_data_set(name)}:train[:700] and "
                f"{_data_set(name)}:train[700:]"
            )


def _data_set(name: str) -> str:
    return name.partition(":")[0]
