"""Plans of the paper's mathematics for LLaMA-2 7B and 13B on 8 A100s and a TPU v5p-8: docs/scaling.md's.

    python -m benchmarks.plans [--folder=build/plans]

Compiled by the compilers of the accelerators (`make compilers`): about half an hour on 2 cores. What
has been planned already is read from the folder.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from absl import app, flags

MODELS = {"7B": "meta-llama/Llama-2-7b-chat-hf", "13B": "meta-llama/Llama-2-13b-chat-hf"}
TARGETS = ("a100x8", "v5p-8")
GIB = 2**30

_FOLDER = flags.DEFINE_string("folder", "build/plans", "where the plans are kept")


def main(_: list[str]) -> None:
    folder = Path(_FOLDER.value)
    folder.mkdir(parents=True, exist_ok=True)
    plans = {
        (size, target): plan(model, target, folder / f"{size}-{target}.json")
        for size, model in MODELS.items()
        for target in TARGETS
    }
    print(summary(plans))
    for (size, target), one in plans.items():
        print(f"\n### LLaMA-2 {size} on {target}\n\n{table(one)}")


def plan(model: str, target: str, output: Path) -> dict[str, Any]:
    """One plan, made unless it is there. Raises CalledProcessError if the command fails."""
    if not output.exists():
        begin = time.perf_counter()
        command = [
            sys.executable,
            "-m",
            "envisions_jax.plan",
            "--config=configs/math.py",
            f"--target={target}",
        ]
        command += [f"--config.model.path={model}", f"--output={output}"]
        done = subprocess.run(command, stdout=sys.stderr)
        if done.returncode not in (0, 3):  # 3: it does not fit
            raise subprocess.CalledProcessError(done.returncode, command)
        print(f"{output}: {time.perf_counter() - begin:.0f} s", file=sys.stderr)
    return dict(json.loads(output.read_text()))


def summary(plans: dict[tuple[str, str], dict[str, Any]]) -> str:
    """One row a plan."""
    lines = [
        "| model, target | memory of a device | training: peak | sampling: peak | a microbatch sends, of "
        "FSDP's least | largest microbatch | step of 128 at best | most slots |",
        "|---|---:|---:|---:|---:|---:|---:|---:|",
    ]
    for (size, target), one in plans.items():
        peaks = {
            stage: max(row["peak"] for row in one["programs"] if row["stage"] == stage) / GIB
            for stage in ("training", "sampling")
        }
        ratio = one["fsdp"]["sent"] / one["fsdp"]["least"]
        cells = [
            f"{size}, {target}",
            f"{one['memory'] / GIB:.1f} GiB",
            *(f"{peaks[stage]:.1f} GiB" for stage in ("training", "sampling")),
            f"{one['fsdp']['sent'] / 1e9:.1f} GB, {ratio:.2f}",
            f"{one['most_rows']} x 2,048",
            f"{one['step_s']:.1f} s",
            str(one["most_slots"]),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def table(one: dict[str, Any]) -> str:
    """One row a program."""
    lines = [
        "| program | compiled in | held beside | arguments | results | temporaries | collectives | "
        "arithmetic | memory | links | tokens/s at best |",
        "|---|---:|---:|---:|---:|---:|---|---:|---:|---:|---:|",
    ]
    for row in one["programs"]:
        told = ", ".join(f"{c['count']} {c['kind']} {c['bytes'] / 1e9:.2f} GB" for c in row["collectives"])
        sizes = (row["beside"], row["arguments"], row["outputs"] - row["aliased"], row["temporaries"])
        cells = [
            row["program"] + (" (a step)" if row["per"] == "step" else ""),
            f"{row['compile_s']:.0f} s",
            *(f"{size / GIB:.1f}" for size in sizes),
            told or "none",
            *(f"{1e3 * seconds:.1f} ms" for seconds in row["floors_s"].values()),
            f"{row['best_tokens_per_s']:,.0f}" if row["best_tokens_per_s"] else "",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


if __name__ == "__main__":
    app.run(main)
