"""The work directory: everything a run knows, so that the same command can go on after any interruption.

What is in it:

    config.json      what the run is; a directory belongs to one config for good
    store.sqlite     trajectories, evaluation results, finished shards
    checkpoints/     train-<i>/ inside the training of iteration i, policy-<i>/ what came out of it;
                     train-cold-start/ and policy-cold-start/ of a cold start
    metrics.jsonl    one record an iteration, and one a training step
    times.json       seconds by iteration and stage
    tensorboard/     the same for TensorBoard
    screenshots/     of the web's test tasks: <iteration or base>-<prompt>/<page>-<seed>-<before or after>.png
    final/           the last policy as a Hugging Face folder
"""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from envisions_jax.config import UNESSENTIAL, Config, flatten
from envisions_jax.config_rules import ConfigError
from envisions_jax.store.records import COLD_START

SCHEMA = 1  # of the work directory; raised when an older program could not read what a newer one wrote


@dataclass(frozen=True)
class WorkDir:
    """The paths of one run."""

    root: Path

    @property
    def config(self) -> Path:
        """What the run is."""
        return self.root / "config.json"

    @property
    def store(self) -> Path:
        """The trajectory store."""
        return self.root / "store.sqlite"

    @property
    def metrics(self) -> Path:
        """One record an iteration."""
        return self.root / "metrics.jsonl"

    @property
    def times(self) -> Path:
        """Seconds by iteration and stage."""
        return self.root / "times.json"

    @property
    def final(self) -> Path:
        """The exported last policy."""
        return self.root / "final"

    def screenshots(self, iteration: int, kind: str) -> Path:
        """Pictures of one evaluation; iteration -1 is the base model."""
        return self.root / "screenshots" / f"{'base' if iteration < 0 else iteration}-{kind}"

    def policy(self, iteration: int) -> Path:
        """Weights of the policy trained in one iteration, or by a cold start."""
        return self.root / "checkpoints" / f"policy-{_name(iteration)}"

    def policies(self) -> list[int]:
        """The iterations of which there is a policy folder, newest first; it may be half written."""
        names = (path.name.removeprefix("policy-") for path in self.root.glob("checkpoints/policy-*"))
        return sorted((int(name) for name in names if name.isdecimal()), reverse=True)

    def training(self, iteration: int) -> Path:
        """Checkpoints inside the training of one iteration, or of a cold start."""
        return self.root / "checkpoints" / f"train-{_name(iteration)}"


def check_workdir(root: str | Path, config: Config) -> WorkDir:
    """The work directory of `config`, new or to be continued; writes nothing.

    Raises `ConfigError` if it belongs to another config, was written by a newer version or is not a run.
    """
    workdir = WorkDir(Path(root))
    try:
        if workdir.config.exists():
            _check_same(read_config(workdir), config, workdir)
        elif workdir.root.is_dir() and any(not _is_start(path) for path in workdir.root.iterdir()):
            raise ConfigError(f"workdir={root}: is not empty and not a run (no config.json); choose another")
        elif workdir.root.exists() and not workdir.root.is_dir():
            raise ConfigError(f"workdir={root}: is a file; choose a folder")
        _check_writable(workdir.root)
    except OSError as error:
        raise ConfigError(f"workdir={root}: cannot be used ({error.strerror}); choose another") from error
    return workdir


def create_workdir(workdir: WorkDir, config: Config) -> None:
    """Make the directory and say whose it is. Raises `ConfigError` where it cannot be made.

    A run calls this when it holds the store's lock, so that no other run writes here at the same time.
    """
    record = {"schema": SCHEMA, "config": flatten(config)}
    try:
        workdir.root.mkdir(parents=True, exist_ok=True)
        write_atomically(workdir.config, json.dumps(record, indent=1) + "\n")
    except (PermissionError, NotADirectoryError) as error:
        raise ConfigError(f"workdir={workdir.root}: cannot be written ({error.strerror})") from error


@contextmanager
def replica(store: bytes) -> Iterator[WorkDir]:
    """A folder of this process alone, with a run's store in it, while the context lasts.

    For a process that takes part in a run whose work directory another one writes.
    """
    with tempfile.TemporaryDirectory(prefix="envisions-") as folder:
        own = WorkDir(Path(folder))
        own.store.write_bytes(store)
        yield own


def identity(config: Config) -> dict[str, Any]:
    """The keys that a run's results depend on, flat and as JSON has them."""
    flat = {key: value for key, value in flatten(config).items() if key not in UNESSENTIAL}
    return dict(json.loads(json.dumps(flat)))


def read_config(workdir: WorkDir) -> dict[str, Any]:
    """The flat config the directory was made with. Raises `ConfigError` if there is none to be read."""
    try:
        record = json.loads(workdir.config.read_text(encoding="utf-8"))
        schema, config = record["schema"], record["config"]
    except FileNotFoundError:
        raise ConfigError(f"{workdir.root}: is not a run (no config.json)") from None
    except OSError as error:
        raise ConfigError(f"{workdir.config}: cannot be read ({error.strerror})") from error
    except (UnicodeDecodeError, json.JSONDecodeError, KeyError, TypeError) as error:
        raise ConfigError(f"{workdir.config}: is not a run's config ({error})") from error
    if type(schema) is not int or not isinstance(config, dict):
        raise ConfigError(f"{workdir.config}: is not a run's config (schema or config of a wrong type)")
    if schema > SCHEMA:
        raise ConfigError(
            f"{workdir.root}: {schema=} is newer than this version's {SCHEMA}; update envisions-jax"
        )
    return config


def write_atomically(path: Path, text: str) -> None:
    """Replace a small file as a whole: after a crash it is the old one or the new one."""
    temporary = path.with_name(f".{path.name}.partial")
    with temporary.open("w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _name(iteration: int) -> str:
    return "cold-start" if iteration == COLD_START else str(iteration)


def _is_start(path: Path) -> bool:
    """Whether a run that was killed before its config.json was there may have left this file."""
    return path.name == ".config.json.partial" or path.name.startswith("store.sqlite")


def _check_writable(root: Path) -> None:
    """Raise `ConfigError` unless `root`, or the nearest folder there is above it, may be written to."""
    there = next(path for path in (root, *root.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"workdir={root}: {there} is a file; choose another")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"workdir={root}: {there} cannot be written; check permissions or choose another")


def _check_same(found: dict[str, Any], config: Config, workdir: WorkDir) -> None:
    wanted = identity(config)
    # A key that did not exist when the run began had what is its default now.
    there = identity(Config()) | {key: value for key, value in found.items() if key not in UNESSENTIAL}
    differ = [
        f"{key}={wanted.get(key)!r} (there {there.get(key)!r})"
        for key in sorted(there.keys() | wanted.keys())
        if there.get(key) != wanted.get(key)
    ]
    if differ:
        raise ConfigError(
            f"workdir={workdir.root}: belongs to a run with another config: {', '.join(differ)}; "
            "give it what is there, choose another work directory, or delete that one"
        )
