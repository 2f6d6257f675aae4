"""Between records and table rows, exact both ways: floats as they are, values as JSON, tokens as uint32."""

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import fields

from envisions_jax.store.records import EvaluationResult, SelectedExample, StoredTask, Trajectory, Value
from envisions_jax.store.schema import canonical_json
from envs import Task

# What `dump` walks through, and by which key it is sorted.
DUMP_ORDER = {
    "tasks": "split, position",
    "trajectories": "iteration, stage, task_id, k",
    "kept": "iteration, task_id, k",
    "selected": "iteration, kind, position",
    "evaluations": "iteration, test_set, prompt, task_id",
    "progress": "iteration, stage",
}

_TRAJECTORY_COLUMNS = [
    "iteration",
    "stage",
    "task_id",
    "k",
    "text",
    "completion",
    "num_tokens",
    "outcome",
    "value",
    "error",
    "output",
    "self_reward",
    "log_prob_sum",
    "finish_reason",
    "seed",
    "parent",
    "time",
]


def storable(text: str) -> str:
    """`text` with lone surrogates (undecodable output of a program) spelled out: SQLite holds UTF-8 only."""
    return text.encode("utf-8", "backslashreplace").decode()


def value_json(value: Value) -> str:
    """A program's value as JSON; an integer too long for decimals becomes a string of hex digits."""
    if isinstance(value, int) and value.bit_length() > 10_000:
        value = hex(value)
    return json.dumps(value)


def fields_of(record: SelectedExample) -> dict[str, object]:
    row = {field.name: getattr(record, field.name) for field in fields(record)}
    return {name: storable(value) if isinstance(value, str) else value for name, value in row.items()}


def task_row(split: str, position: int, task: Task) -> dict[str, object]:
    return {
        "split": split,
        "id": storable(task.id),
        "position": position,
        "question": storable(task.question),
        "answer": json.dumps(task.answer),
        "context": storable(task.context),
        "meta": canonical_json(dict(task.meta)),
    }


def to_task(row: Mapping) -> StoredTask:
    return StoredTask(**{**row, "answer": json.loads(row["answer"]), "meta": json.loads(row["meta"])})


def trajectory_row(trajectory: Trajectory, now: float) -> dict[str, object]:
    return {
        "id": storable(trajectory.id),
        "iteration": trajectory.iteration,
        "stage": trajectory.stage,
        "task_id": storable(trajectory.task_id),
        "k": trajectory.k,
        "text": storable(trajectory.text),
        "completion": storable(trajectory.completion),
        "tokens": pack_tokens(trajectory.tokens),
        "num_tokens": trajectory.num_tokens,
        "outcome": trajectory.outcome,
        "value": value_json(trajectory.value),
        "error": storable(trajectory.error),
        "output": storable(trajectory.output),
        "self_reward": _real(trajectory.self_reward),
        "log_prob_sum": _real(trajectory.log_prob_sum),
        "finish_reason": trajectory.finish_reason,
        "seed": trajectory.seed,
        "parent": None if trajectory.parent is None else storable(trajectory.parent),
        "time": now if trajectory.time is None else trajectory.time,
    }


def select_trajectories(
    tokens: bool, source: str, where: str, order: str = "t.iteration, t.stage, p.position, t.task_id, t.k"
) -> str:
    """The query for `Trajectory` rows; `source` calls the table t. By luck "explore" < "refine"."""
    columns = ", ".join(f"t.{name}" for name in _TRAJECTORY_COLUMNS)
    return (
        f"SELECT {columns}, {'t.tokens' if tokens else 'NULL'} AS tokens FROM {source} "
        f"LEFT JOIN tasks p ON p.split='train' AND p.id=t.task_id WHERE {where} ORDER BY {order}"
    )


def to_trajectory(row: Mapping) -> Trajectory:
    changed = {"value": json.loads(row["value"]), "tokens": unpack_tokens(row["tokens"] or b"")}
    return Trajectory(**{**row, **changed})


def evaluation_row(result: EvaluationResult, now: float) -> dict[str, object]:
    return {
        "iteration": result.iteration,
        "test_set": storable(result.test_set),
        "prompt": result.prompt,
        "task_id": storable(result.task_id),
        "program": storable(result.program),
        "completion": storable(result.completion),
        "outcome": result.outcome,
        "value": value_json(result.value),
        "error": storable(result.error),
        "output": storable(result.output),
        "time": now,
    }


def to_evaluation(row: Mapping) -> EvaluationResult:
    kept = {name: value for name, value in row.items() if name != "time"}
    return EvaluationResult(**{**kept, "value": json.loads(row["value"])})


def pack_tokens(tokens: Sequence[int]) -> bytes:
    return struct.pack(f"<{len(tokens)}I", *tokens)


def unpack_tokens(blob: bytes) -> tuple[int, ...]:
    return struct.unpack(f"<{len(blob) // 4}I", blob)


def _real(value: float | None) -> float | None:
    return None if value is None else float(value)
