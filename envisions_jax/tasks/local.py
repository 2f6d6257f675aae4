"""Rows of local JSON Lines files and of the Hugging Face hub, each with the place it comes from.

A row is (where, columns): `where` is "file:line" or "hub id[row]", and every complaint about the row starts
with it.
"""

import gzip
import json
import re
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from envisions_jax.tasks.errors import TaskError

Row = tuple[str, dict[str, Any]]


def find_file(path: str | Path, name: str, stems: Sequence[str]) -> Path:
    """The file a path stands for: itself, or in a folder the first that is called like one of `stems`.

    The stem "asdiv" is asdiv.jsonl, or asdiv_1000.jsonl with a number of rows (.jsonl.gz too).
    """
    file = Path(path).expanduser()
    try:
        if file.is_file():
            return file
        is_folder = file.is_dir()
    except OSError as error:  # a name that is too long, a folder that may not be entered
        raise TaskError(f"{name}: path={str(path)!r:.200}: {error.strerror}") from error
    if not is_folder:
        raise TaskError(f"{name}: there is no file or folder {file}")
    for stem in stems:
        pattern = re.compile(re.escape(stem) + r"(_[0-9]+)?\.jsonl(\.gz)?")
        found = sorted(entry for entry in file.iterdir() if pattern.fullmatch(entry.name))
        if len(found) > 1:
            raise TaskError(
                f"{name}: {file} has {found[0].name} and {found[1].name}; give the file itself as path"
            )
        if found:
            return found[0]
    raise TaskError(
        f"{name}: the folder {file} has no {' or '.join(stem + '.jsonl' for stem in stems)} (or .gz)"
    )


def read_rows(file: Path) -> Iterator[Row]:
    """The rows of a .jsonl or .jsonl.gz file, one JSON object a line; empty lines are skipped.

    Raises TaskError naming file and line for text that is not UTF-8, not JSON or not an object, and naming
    the file for one that cannot be read or unpacked.
    """
    line = 0
    try:
        with gzip.open(file, "rb") if file.suffix == ".gz" else file.open("rb") as stream:
            for line, raw in enumerate(stream, start=1):
                if raw.strip():
                    yield f"{file}:{line}", _parse(raw, f"{file}:{line}")
    except (OSError, EOFError, zlib.error) as error:
        raise TaskError(f"{file}: cannot be read after line {line}: {error}") from error


def _parse(raw: bytes, where: str) -> dict[str, Any]:
    try:
        row = json.loads(raw.decode("utf-8-sig"))  # a byte order mark is no fault of the row
    except UnicodeDecodeError as error:
        raise TaskError(f"{where}: not UTF-8 text ({error.reason} at byte {error.start})") from error
    except (ValueError, RecursionError) as error:
        hint = "; one row a line is wanted, not one array" if raw.lstrip().startswith(b"[") else ""
        raise TaskError(f"{where}: not a line of JSON ({error}{hint})") from error
    if not isinstance(row, dict):
        raise TaskError(f"{where}: must be a JSON object with columns, is {type(row).__name__}")
    return row


def hub_rows(name: str, hub_id: str, configs: Sequence[str], split: str) -> Iterator[Row]:
    """The rows of one split of a hub data set, config after config; the `datasets` library keeps a copy.

    Raises TaskError when the library is not installed, or the set cannot be had (no network, no such set).
    """
    try:
        import datasets
    except ImportError as error:
        raise TaskError(
            f"{name}: reading {hub_id} from the hub needs the datasets library "
            "(pip install 'envisions-jax[data]'); or give a local JSON Lines file as path"
        ) from error
    for config in configs:
        try:
            rows = datasets.load_dataset(hub_id, config, split=split)
        except (OSError, ValueError) as error:
            first_line = (str(error).splitlines() or [type(error).__name__])[0]
            raise TaskError(
                f"{name}: cannot load {hub_id} ({config}, {split}): {first_line}. "
                "Without access to the hub, give a local JSON Lines file with its rows as path"
            ) from error
        for index, row in enumerate(rows):
            yield f"{hub_id}/{config}/{split}[{index}]", dict(row)
