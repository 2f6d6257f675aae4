"""`metrics.jsonl`, one JSON object a line, and TensorBoard events that show the same numbers.

The JSON Lines file is the record: append-only, each line durable once `write` returns, a line torn by `kill
-9` repaired on the next start, and a record that a resumed run writes again not written twice. The event
files are a view of it and are rewritten from it when a run resumes. Everything that depends on the clock is
under the key "time".
"""

import functools
import json
import logging
import math
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

_log = logging.getLogger(__name__)

Key = tuple[str, int, int | None]


class MetricsError(Exception):
    """The metrics file is damaged, or a record cannot be written."""


class MetricsWriter:
    """Writes records, each known by (kind, iteration, step).

        with MetricsWriter(work_dir) as metrics:
            metrics.write("train", {"loss": 0.7}, iteration=0, step=10)
            metrics.write("iteration", numbers.to_dict(), iteration=0, time_s={"explore": 31.2})

    gives {"kind": "train", "iteration": 0, "step": 10, "loss": 0.7, "time": {"written": 1700000000.0}} and
    so on. To resume exactly, write the record of a stage before the stage is marked as done.

    Raises MetricsError if an earlier line of an existing file is damaged; the file is then left as it is.
    """

    def __init__(self, work_dir: str | Path, *, tensorboard: bool = True) -> None:
        self.path = Path(work_dir) / "metrics.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        _repair_last_line(self.path)
        records = read_metrics(self.path) if self.path.exists() else []
        self._known = {_key(record): without_time(record) for record in records}
        self._file = self.path.open("a", encoding="utf-8")
        self._board = _Board(self.path.parent / "tensorboard", records) if tensorboard else None

    def write(
        self,
        kind: str,
        values: Mapping[str, object],
        *,
        iteration: int,
        step: int | None = None,
        time_s: Mapping[str, float] | None = None,
    ) -> bool:
        """Appends a record → True, or False if one with this (kind, iteration, step) is there already.

        `values` nest freely; NaN and infinities become the strings "nan", "inf", "-inf" (JSON has none).
        `time_s` are durations in seconds. Raises MetricsError on a reserved key, a value that JSON cannot
        hold, or a full disk.
        """
        record = self._record(kind, values, iteration, step)
        known = self._known.get(_key(record))
        if known is not None:
            if known != record:
                _log.warning("%s: kept the first of two different records %s", self.path, _key(record))
            return False
        timed = {**record, "time": {**(time_s or {}), "written": time.time()}}
        try:
            # One write per line: a crash tears at most the last one.
            self._file.write(json.dumps(timed, allow_nan=False) + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise MetricsError(
                f"{self.path}: cannot write ({error}); free space and run the same command again"
            ) from error
        self._known[_key(record)] = record
        if self._board is not None:
            self._board.add(timed)
        return True

    def _record(
        self, kind: str, values: Mapping[str, object], iteration: int, step: int | None
    ) -> dict[str, Any]:
        reserved = {"kind", "step", "time"} & values.keys()
        if reserved or values.get("iteration", iteration) != iteration:
            raise MetricsError(
                f"{kind} record of iteration {iteration}: keys kind, iteration, step, time are reserved"
            )
        head = {"kind": kind, "iteration": iteration} | ({} if step is None else {"step": step})
        try:
            # Through JSON and back, so that it compares equal to what a later start reads from the file.
            return json.loads(json.dumps({**head, **_jsonable(values)}, allow_nan=False))
        except TypeError as error:
            raise MetricsError(
                f"{kind} record of iteration {iteration}: {error}; write plain numbers"
            ) from error

    def close(self) -> None:
        self._file.close()
        if self._board is not None:
            self._board.close()

    def __enter__(self) -> "MetricsWriter":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read_metrics(path: str | Path) -> list[dict[str, Any]]:
    """The records of a `metrics.jsonl`. Raises MetricsError naming file and line if one is not a record."""
    records = []
    for number, line in enumerate(
        Path(path).read_text(encoding="utf-8", errors="replace").splitlines(), start=1
    ):
        try:
            record = json.loads(line)
            _key(record)
        except (ValueError, TypeError, KeyError) as error:
            raise MetricsError(
                f"{path}, line {number}: not a metrics record ({error!r}); repair or remove that line"
            ) from error
        records.append(record)
    return records


def without_time(record: Mapping[str, Any]) -> dict[str, Any]:
    """The record without what depends on the clock: equal in a resumed and in an uninterrupted run."""
    return {name: value for name, value in record.items() if name != "time"}


def _key(record: Mapping[str, Any]) -> Key:
    return record["kind"], record["iteration"], record.get("step")


def _jsonable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(name): _jsonable(inner) for name, inner in value.items()}
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    return value


def _repair_last_line(path: Path) -> None:
    """Completes a last line that lacks only its end of line, and cuts off one that is not whole."""
    if not path.exists():
        return
    content = path.read_bytes()
    last = content[content.rfind(b"\n") + 1 :]
    if not last:
        return
    try:
        _key(json.loads(last))
    except (ValueError, TypeError, KeyError):
        _log.warning("%s: removed a torn last line of %d bytes", path, len(last))
        with path.open("r+b") as file:
            file.truncate(len(content) - len(last))
    else:
        with path.open("ab") as file:
            file.write(b"\n")


class _Board:
    """TensorBoard scalars: kind/name over iterations, kind/iteration_03/name over the steps within
    iteration 3, kind/cold_start/name over those before the first."""

    def __init__(self, folder: Path, records: list[dict[str, Any]]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for stale in folder.glob("events.out.tfevents.*"):
            stale.unlink()
        self._folder = folder
        for record in records:
            self.add(record)
        if records:
            self._writer.flush()

    @functools.cached_property
    def _writer(self) -> Any:
        """Made when there is something to write: its import takes seconds where there is a PyTorch, which it
        imports, and a run's first candidates should not wait for it.
        """
        from tensorboardX import SummaryWriter

        return SummaryWriter(str(self._folder))

    def add(self, record: Mapping[str, Any]) -> None:
        step = record.get("step")
        of_steps = "cold_start" if record["iteration"] < 0 else f"iteration_{record['iteration']:02d}"
        tag = record["kind"] if step is None else f"{record['kind']}/{of_steps}"
        place = record["iteration"] if step is None else step
        for name, value in _scalars(
            {n: v for n, v in record.items() if n not in ("kind", "iteration", "step")}
        ):
            if name != "time/written":
                self._writer.add_scalar(f"{tag}/{name}", value, place, walltime=record["time"]["written"])
        if step is None:
            self._writer.flush()

    def close(self) -> None:
        if "_writer" in vars(self):
            self._writer.close()


def _scalars(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{prefix}{name}/")
        elif (isinstance(value, str) and value in ("nan", "inf", "-inf")) or isinstance(value, int | float):
            yield prefix + name, float(value)
