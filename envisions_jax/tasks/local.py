"""Rows of local JSON Lines files and of the Hugging Face hub, each with the place it comes from.

A row is (where, columns): `where` is "file:line" or "hub id[row]", and every complaint about the row starts with it.
"""

import gzip
import json
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from envisions_jax.tasks.errors import TaskError

Row = tuple[str, dict[str, Any]]

_SUFFIXES = (".jsonl", ".jsonl.gz")


def find_file(path: str | Path, name: str, split: str) -> tuple[Path, bool]:
    """The file a path stands for, and whether it is known to hold just `split`.

    A folder holds <name>_<split>.jsonl, or <name>.jsonl with every row (.jsonl.gz too); "{split}" in a path is filled in.
    """
    filled = str(path).replace("{split}", split)
    file = Path(filled).expanduser()
    if file.is_dir():
        for stem in (f"{name}_{split}", name):
            for suffix in _SUFFIXES:
                if (file / f"{stem}{suffix}").is_file():
                    return file / f"{stem}{suffix}", stem != name
        raise TaskError(f"{name}: {file} has neither {name}_{split}.jsonl nor {name}.jsonl (or .jsonl.gz)")
    if not file.is_file():
        raise TaskError(f"{name}: there is no file {file}")
    return file, filled != str(path)


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of a .jsonl or .jsonl.gz file, one JSON object a line; empty lines are skipped.

    Raises TaskError naming file and line for text that is not UTF-8, not JSON or not an object, and naming the file
    for one that cannot be read or unpacked.
    """
    line = 0
    try:
        opened = gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb")
        with opened as stream:
            for line, raw in enumerate(stream, start=1):  # noqa: B007  (read below, when unpacking fails)
                if raw.strip():
                    yield f"{file}:{line}", _parse(raw, f"{file}:{line}")
    except (OSError, EOFError, zlib.error) as error:
        raise TaskError(f"{file}: cannot be read after line {line}: {error}") from error


def _parse(raw: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(raw)
    except UnicodeDecodeError as error:
        raise TaskError(f"{where}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except (json.JSONDecodeError, RecursionError) as error:
        raise TaskError(f"{where}: not a line of JSON ({error})") from error
    if not isinstance(row, dict):
        raise TaskError(f"{where}: must be a JSON object with columns, is {type(row).__name__}")
    return row


def hub_rows(name: str, hub_id: str, configs: Sequence[str], split: str) -> Iterator[Row]:
    """The rows of one split of a hub data set, config after config; the `datasets` library keeps a local copy.

    Raises TaskError when the library is not installed, or the set cannot be had (no network, no such set).
    """
    try:
        import datasets
    except ImportError as error:
        raise TaskError(
            f"{name}: reading {hub_id} from the hub needs the datasets library: pip install 'envisions-jax[data]'; "
            "or give a local JSON Lines file as path"
        ) from error
    for config in configs:
        try:
            rows = datasets.load_dataset(hub_id, config, split=split)
        except (OSError, ValueError) as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            raise TaskError(
                f"{name}: cannot load {hub_id} ({config}, {split}): {first_line}. Without access to the hub, save "
                "its rows as a JSON Lines file elsewhere and give that file as path"
            ) from error
        for index, row in enumerate(rows):
            yield f"{hub_id}/{config}/{split}[{index}]", dict(row)
