"""Plan a run for accelerators that need not be here: does it fit, what do devices send, how fast can it be?

    python -m envisions_jax.plan --config=configs/math.py --target=a100x8
    python -m envisions_jax.plan --config=configs/math.py --target=v5p-8 \\
        --config.model.path=meta-llama/Llama-2-13b-chat-hf --output=13b.json

Every program of the run is compiled by the accelerator's own compiler, on the mesh of the configuration, for
the longest prompts that the configuration allows. No weights are read: `model.path` may be a folder, or the
id of a model whose shape is known (LLaMA-2 7B and 13B).

Targets: a100x8, h100x8 (1 to 8, or machines of 8), v4-8, v5p-8, v5e-16 (also v5litepod-16), v6e-8 ..., or
`here`, the devices that there are, which is the default. Exit code 3: it does not fit.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from envisions_jax import command_line
from envisions_jax.command_line import RunError
from envisions_jax.config import Config
from envisions_jax.config_rules import ConfigError
from envisions_jax.mesh_config import MeshError
from envisions_jax.plan.targets import Chip, Target, parse_target
from envisions_jax.progress import Reporter
from envisions_jax.workdir import write_atomically

if TYPE_CHECKING:
    from envisions_jax.plan.abstract_run import AbstractRun
    from envisions_jax.plan.report import Compiled

DOES_NOT_FIT = 3
_STAGES = ("all", "training", "sampling")


def main(config: Config, values: flags.FlagValues) -> int:
    """The exit code of a plan."""
    output = Path(values.output) if values.output else None
    if output is not None and not output.parent.is_dir():
        raise ConfigError(f"output={values.output}: there is no folder {output.parent}; make it first")
    if output is not None and output.is_dir():
        raise ConfigError(f"output={values.output}: is a folder; name a file")
    target = None if values.target == "here" else parse_target(values.target)
    if target is not None:
        target.prepare()  # before JAX is imported
    fits, plan = make_plan(config, target, values.stages, Reporter())
    if output is not None:
        try:
            write_atomically(output, json.dumps(plan, indent=1) + "\n")
        except OSError as error:
            raise RunError(f"output={output}: cannot be written ({error.strerror})") from error
    return 0 if fits else DOES_NOT_FIT


def make_plan(
    config: Config, target: Target | None, stages: str, reporter: Reporter
) -> tuple[bool, dict[str, object]]:
    """Compiles a run's programs for `target` (None: the devices that are here), and tells what they take.

    Returns whether all of it fits, and the same as plain data.
    """
    # Here, not above: the environment of the target's compiler has to be set before JAX is imported.
    from envisions_jax.parallel.layout import platform_of
    from envisions_jax.plan.compiling import compile_all
    from envisions_jax.plan.programs import sampling_programs, training_programs
    from envisions_jax.plan.report import (
        least_step,
        memory_table,
        most_rows,
        most_slots,
        speed_table,
        verdict,
    )
    from envisions_jax.training.config import longest_row

    run = _abstract_run(config, target)
    chip, devices = _chip(target), run.mesh.size
    sizes = " x ".join(f"{axis} {size}" for axis, size in run.mesh.shape.items())
    name = target.name if target else f"{_counted(devices, 'device')} here"
    reporter.line(f"{config.model.path} by {config.name} on {name}: {sizes}, {run.policy.dtype.name}")
    wanted = [] if stages == "sampling" else list(training_programs(run))
    wanted += [] if stages == "training" else list(sampling_programs(run))
    compiled = compile_all(wanted, reporter.line)
    reporter.show(memory_table(compiled, f"GiB on each device of {name}", run.memory))
    if target is not None:  # of devices that are here nothing is known to compare with
        reporter.show(speed_table(compiled, "what it has to do at least, each device", chip, devices))
    plan: dict[str, object] = {
        "target": name,
        "model": config.model.path,
        "config": config.name,
        "mesh": dict(run.mesh.shape),
        "memory": run.memory,
        "programs": [one.to_dict(chip, devices) for one in compiled],
    }
    if stages != "sampling":
        plan["fsdp"] = _tell_fsdp(run, compiled, reporter)
        once = next(one for one in compiled if one.program.name.startswith("microbatch"))
        plan["most_rows"] = rows = most_rows(once, _with_more_rows(run, once, reporter), run.memory)
        length = longest_row(config.train.row_length, platform_of(run.layout))
        lanes = run.layout.lanes
        chosen = "" if config.train.row_length else " (train.row_length=0: the longest that may be chosen)"
        reporter.line(f"largest microbatch that fits: {rows} x {length} in {_each_of(lanes)}{chosen}")
        if target is not None:
            plan["step_s"] = seconds = least_step(compiled, config.train.batch_size, lanes, chip, devices)
            size = config.train.batch_size
            reporter.line(f"a step of {size} examples that fill their rows takes {seconds:.3g} s at best")
    if (slots := most_slots(compiled, run.memory)) is not None:
        plan["most_slots"] = slots * run.policy.lanes
        reporter.line(
            f"slots that fit: {slots} in {_each_of(run.policy.lanes)} of a host "
            f"(sampler.slots={slots * run.policy.lanes})"
        )
    told = verdict(compiled, run.memory)
    reporter.line(told)
    plan["verdict"] = told
    return told.startswith("it fits"), plan


def _with_more_rows(run: AbstractRun, once: Compiled, reporter: Reporter) -> Compiled:
    """A microbatch of so many more rows that it takes more memory: a few may fit what one takes anyway."""
    from envisions_jax.plan.compiling import compile_one
    from envisions_jax.plan.programs import training_programs

    for factor in (2, 4, 8, 16):
        rows = factor * once.program.units
        program = next(one for one in training_programs(run, factor) if one.units == rows)
        reporter.line(f"compiling training: {program.name}, to see by how much memory grows")
        more = compile_one(program)
        if more.peak > once.peak:
            break
    return more


def _abstract_run(config: Config, target: Target | None) -> AbstractRun:
    import jax

    from envisions_jax.budget import device_memory
    from envisions_jax.models.config import ModelError
    from envisions_jax.models.known import shape_of
    from envisions_jax.parallel import make_mesh
    from envisions_jax.plan.abstract_run import AbstractRun
    from envisions_jax.stages.run import check_adapters

    try:
        model = shape_of(config.model.path)
        check_adapters(config, model)
        devices = jax.devices() if target is None else target.topology_devices()
        mesh = make_mesh(config.mesh, devices)
        return AbstractRun(config, model, mesh, device_memory() if target is None else target.chip.memory)
    except ModelError as error:
        raise ConfigError(f"model.path={config.model.path}: {error}") from error
    except MeshError as error:
        raise ConfigError(str(error)) from error


def _chip(target: Target | None) -> Chip:
    """Of devices that are here nothing is known but that they are no faster than any."""
    if target is not None:
        return target.chip
    return Chip(flops=float("inf"), bandwidth=float("inf"), links=float("inf"), memory=0)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _each_of(lanes: int) -> str:
    return "the one lane" if lanes == 1 else f"each of {lanes} lanes"


def _tell_fsdp(run: AbstractRun, compiled: Sequence[Compiled], reporter: Reporter) -> dict[str, float]:
    """What a microbatch sends beside what FSDP has to."""
    once = next(one for one in compiled if one.program.name.startswith("microbatch"))
    devices = run.mesh.shape["fsdp"]
    sent = sum(one.sent(devices) for one in once.collectives)
    has_gradients = not run.config.train.lora_rank
    least = run.least.of_fsdp(lora=not has_gradients) * (devices - 1) / devices
    if not least or run.mesh.shape["tensor"] > 1:  # where activations are exchanged too
        return {"sent": sent, "least": 0.0}
    scattered = ", gradients scattered" if has_gradients else ""
    reporter.line(
        f"a microbatch sends {sent / 1e9:.2f} GB from each device, {sent / least:.2f} times what FSDP sends "
        f"({least / 1e9:.2f}: weights gathered forward and backward{scattered}; embeddings once here)"
    )
    return {"sent": sent, "least": least}


def _define_flags() -> None:
    flags.DEFINE_string("target", "here", "a100x8, h100x8, v5p-8, v5e-16 ...; by default what is here")
    flags.DEFINE_enum("stages", "all", _STAGES, "what to compile: training, sampling, by default all")
    flags.DEFINE_string("output", "", "JSON file to write the plan to")


if __name__ == "__main__":
    command_line.run(main, _define_flags)
