"""The tasks of a run, as its config wants them. No JAX."""

from envisions_jax import tasks
from envisions_jax.command_line import RunError
from envisions_jax.config import Config
from envs import Task


def train_tasks(config: Config) -> list[Task]:
    """Tasks to train on, of all data sets together. Raises RunError."""
    return [task for name in config.tasks.train for task in load_set(config, name, "train")]


def test_tasks(config: Config) -> dict[str, list[Task]]:
    """Tasks to test on, by data set, split left out of its name where it is clear. Raises RunError."""
    short = [name.partition(":")[0] for name in config.tasks.test]
    return {
        brief if short.count(brief) == 1 else name: load_set(config, name, "test")
        for name, brief in zip(config.tasks.test, short, strict=True)
    }


def load_set(config: Config, name: str, split: str) -> list[Task]:
    """One data set: the part its name asks for, "asdiv:all[:700]", or `split`. Raises RunError."""
    settings = config.tasks
    size = settings.train_size if split == "train" else settings.test_size
    options: dict[str, object]
    if name.partition(":")[0] == "generated":
        path, options = None, {"mix": settings.steps, "level": settings.difficulty}
    else:
        path, options = settings.path or None, {"compat": config.compat}
    try:
        return tasks.load(name, split, path, size or None, settings.seed, **options)
    except tasks.TaskError as error:
        raise RunError(str(error)) from error
