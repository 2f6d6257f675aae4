"""Compiles programs one after the other, and reads from each what it takes."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable

from envisions_jax.plan.hlo import collectives
from envisions_jax.plan.programs import Program
from envisions_jax.plan.report import Compiled

_TARGETS = re.compile(r'custom_call_target="([^"]*)"')
_ATTENTION = {"__cudnn$fmha": "cuDNN", "tpu_custom_call": "splash"}


def compile_all(programs: Iterable[Program], tell: Callable[[str], None]) -> list[Compiled]:
    """All of them; `tell` is given a line before each."""
    compiled = []
    for program in programs:
        tell(f"compiling {program.stage}: {program.name}")
        compiled.append(compile_one(program))
    return compiled


def compile_one(program: Program) -> Compiled:
    """As `compile_all`, one."""
    begin = time.perf_counter()
    executable = program.lower().compile()
    seconds = time.perf_counter() - begin
    memory, text = executable.memory_analysis(), executable.as_text()
    called = set(_TARGETS.findall(text))
    kernels = {name for prefix, name in _ATTENTION.items() if any(one.startswith(prefix) for one in called)}
    return Compiled(
        program=program,
        seconds=seconds,
        arguments=memory.argument_size_in_bytes,
        outputs=memory.output_size_in_bytes,
        aliased=memory.alias_size_in_bytes,
        temporaries=memory.temp_size_in_bytes,
        collectives=collectives(text),
        kernels=tuple(sorted(kernels)),
    )
