"""Whole plans by the accelerators' own compilers, for a model small enough to compile in a minute."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import pytest

from envisions_jax.config import Config, with_values
from envisions_jax.models.config import LlamaConfig
from envisions_jax.models.known import SHAPES
from envisions_jax.parallel import MeshConfig, make_mesh
from envisions_jax.plan.abstract_run import AbstractRun
from envisions_jax.plan.hlo import Collective
from envisions_jax.plan.programs import Program, training_programs
from envisions_jax.plan.report import USABLE, Compiled, least_step, most_rows, most_slots, verdict
from envisions_jax.plan.targets import GPUS
from envisions_jax.plan.work import Least, Work, parameters
from envisions_jax.testing import tiny_config
from envisions_jax.training.packing import RowShape
from envisions_jax.training.step import STACK

LAYERS = 3
SETTINGS = {"train.row_length": 256, "train.max_length": 256, "train.remat": True, "sampler.slots": 32}


def tiny_model() -> LlamaConfig:
    return tiny_config(
        hidden_size=256,
        intermediate_size=512,
        num_layers=LAYERS,
        num_heads=2,
        head_dim=128,
        vocab_size=512,
        max_position_embeddings=1024,
    )


def plan(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """What the command says of the tiny mathematics on a tiny model."""
    (folder / "config.json").write_text(json.dumps(tiny_model().to_hf()))
    settings = SETTINGS | {"model.path": str(folder)}
    command = [sys.executable, "-m", "envisions_jax.plan", "--config=configs/math.py:tiny", *arguments]
    command += [f"--config.{key}={value}" for key, value in settings.items()]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | {"XLA_FLAGS": ""})


@pytest.mark.plan
@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize(("target", "devices", "kernel"), [("a100x8", 8, "cuDNN"), ("v5p-8", 4, "splash")])
def test_every_program_of_a_run_is_compiled(target: str, devices: int, kernel: str, tmp_path: Path) -> None:
    done = plan(tmp_path, f"--target={target}", f"--output={tmp_path / 'plan.json'}")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it fits" in done.stdout
    told = json.loads((tmp_path / "plan.json").read_text())
    programs = {one["program"]: one for one in told["programs"]}
    assert told["mesh"] == {"data": 1, "fsdp": devices, "tensor": 1}
    microbatch = programs["microbatch of 1 x 256"]
    assert microbatch["kernels"] == [kernel]
    # 1. FSDP's three passes over the weights, and hardly more.
    assert told["fsdp"]["sent"] <= 1.15 * told["fsdp"]["least"]
    counts = {one["kind"]: one["count"] for one in microbatch["collectives"]}
    assert counts["all-gather"] >= 1 and counts["reduce-scatter"] >= 1
    # 2. What is sampled exchanges nothing.
    for name, one in programs.items():
        if any(word in name for word in ("prefill", "decode", "beam", "score")):
            assert one["collectives"] == [], name
    assert [name.partition(":")[0] for name in programs if "decode" in name] == ["explore", "refine"]
    # 3. The attention of prompts is the kernel's too.
    assert [one["kernels"] for name, one in programs.items() if "prefill" in name] == [[kernel], [kernel]]


@pytest.mark.plan
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_one_gpu_trains_adapters_and_samples_with_the_weights_it_has(tmp_path: Path) -> None:
    adapters = ["--config.train.lora_rank=4", "--config.model.param_dtype=bfloat16"]
    done = plan(tmp_path, "--target=a100x1", f"--output={tmp_path / 'plan.json'}", *adapters)
    assert done.returncode == 0, done.stdout + done.stderr
    programs = {one["program"]: one for one in json.loads((tmp_path / "plan.json").read_text())["programs"]}
    assert "weights to sample with" not in programs
    assert all(one["collectives"] == [] for one in programs.values())
    weights = 2 * parameters(tiny_model())
    assert weights < programs["microbatch of 1 x 256"]["arguments"] < 1.2 * weights
    decoding = next(one for name, one in programs.items() if "decode" in name)
    assert weights <= decoding["beside"] < 1.1 * weights


@pytest.mark.plan
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_adapters_on_tpus_have_no_gradients_of_weights_to_send(tmp_path: Path) -> None:
    arguments = ["--target=v5p-8", "--stages=training", "--config.train.lora_rank=4"]
    done = plan(tmp_path, *arguments, f"--output={tmp_path / 'plan.json'}")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads((tmp_path / "plan.json").read_text())
    assert [one["program"] for one in told["programs"]][2].startswith("merge")
    assert told["fsdp"]["sent"] <= 1.15 * told["fsdp"]["least"]


def test_a_plan_for_the_devices_that_are_here(tmp_path: Path) -> None:
    done = plan(tmp_path, "--stages=training", "--target=here")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "update by AdamW" in done.stdout and "it fits" in done.stdout


def test_one_cpu_is_planned_with_the_loop_that_trains_there() -> None:
    config = with_values(Config(), {"train.row_length": 64, "train.max_length": 64, "train.rows": 1})
    run = AbstractRun(config, tiny_model(), make_mesh(MeshConfig(), jax.devices()[:1]), 2**34)
    assert run.train_step.loops
    begin, step = training_programs(run)
    assert (begin.name[:5], step.name) == ("begin", "microbatches of 1 x 64, then update by AdamW")
    shapes = [tuple(leaf.shape) for leaf in jax.tree.leaves(step.lower().in_avals)]
    assert (STACK, 1, 64) in shapes


def test_rows_that_are_still_to_be_chosen_are_planned_as_the_longest() -> None:
    config = with_values(Config(), {"train.row_length": 0, "train.max_length": 256, "train.rows": 2})
    run = AbstractRun(config, tiny_model(), make_mesh(MeshConfig(), jax.devices()[:1]), 2**34)
    names = [one.name for one in training_programs(run) if one.name.startswith("microbatch")]
    assert names == ["microbatches of 2 x 480, then update by AdamW"]


def test_the_environment_of_a_target_is_set_before_jax_is_imported() -> None:
    block = "import sys; sys.modules['jax'] = None; import envisions_jax.plan.__main__"
    assert subprocess.run([sys.executable, "-c", block]).returncode == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--target=a100x9"], "target='a100x9': name GPUs as a100x8"),
        (["--target=here", "--output=/nowhere/plan.json"], "output=/nowhere/plan.json: there is no folder"),
        (["--target=here", "--config.mesh.data=3"], "3 parts, which does not go with 1 devices"),
        (["--target=here", "--config.train.lora_rank=999"], "train.lora_rank=999: this model's smallest"),
    ],
)
def test_what_cannot_be_planned_is_told_in_one_line(arguments: list[str], told: str, tmp_path: Path) -> None:
    done = plan(tmp_path, *arguments)
    assert done.returncode == 2
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert told in line and "Traceback" not in done.stderr


# ---- What is made of it ----------------------------------------------------------------------------

MEMORY = 1000


def compiled(**changes: Any) -> Compiled:
    program = Program(
        name="decode",
        stage="sampling",
        lower=lambda: None,
        work=Work(flops=2 * GPUS["a100"].flops, bytes=GPUS["a100"].bandwidth, tokens=100),
        per="step",
        beside=100,
        units=10,
        fixed=50,
    )
    fields = {
        "program": dataclasses.replace(program, **changes.pop("program", {})),
        "seconds": 1.0,
        "arguments": 250,
        "outputs": 200,
        "aliased": 200,
        "temporaries": 100,
        "collectives": [Collective("all-gather", 2, 8 * int(GPUS["a100"].links))],
        "kernels": (),
    }
    return Compiled(**{**fields, **changes})


def test_the_peak_is_what_is_held_beside_and_what_the_program_takes() -> None:
    assert compiled().peak == 100 + 250 + 100
    assert compiled(aliased=150).peak == 500


def test_floors_are_seconds_and_the_slowest_decides() -> None:
    one = compiled()
    assert one.floors(GPUS["a100"], 8) == {"arithmetic": 2.0, "memory": 1.0, "links": 7.0}
    assert one.best(GPUS["a100"], 8) == pytest.approx(100 / 7)


def test_it_fits_or_the_verdict_says_by_how_much_not() -> None:
    assert verdict([compiled(), compiled(temporaries=0)], MEMORY).startswith("it fits")
    told = verdict([compiled(temporaries=2 * 2**30)], MEMORY)
    assert told.startswith("it does NOT fit, by 2.0 GiB") and "sampling: decode" in told


def test_a_step_is_as_many_of_the_first_microbatches_as_its_examples_fill_and_an_update() -> None:
    """16 examples in two lanes of two rows: four microbatches of 7 s (their links), and one update of 2."""
    first = compiled(program={"name": "microbatch of 2 x 256", "units": 2})
    longer = compiled(program={"name": "microbatch of 1 x 512", "units": 1})
    update = compiled(program={"name": "update by AdamW"}, collectives=[])
    assert least_step([update, first, longer], 16, 2, GPUS["a100"], 8) == pytest.approx(4 * 7 + 2)


def test_slots_grow_until_the_memory_is_full() -> None:
    """Ten slots take 300 of 450: 470 more have room for 15.67 more slots; 25 is 24 in steps of eight."""
    assert most_slots([compiled()], MEMORY) == 24
    assert USABLE * MEMORY - compiled().peak == pytest.approx(470)


def test_rows_grow_by_what_twice_as_many_take_more() -> None:
    once = compiled(program={"units": 1})
    twice = compiled(program={"units": 2}, temporaries=200)
    assert most_rows(once, twice, MEMORY) == 5


def test_known_models_have_the_sizes_they_are_called_by() -> None:
    sizes = {name: parameters(config) / 1e9 for name, config in SHAPES.items()}
    assert sizes["meta-llama/Llama-2-7b-chat-hf"] == pytest.approx(6.738, abs=1e-3)
    assert sizes["meta-llama/Llama-2-13b-chat-hf"] == pytest.approx(13.016, abs=1e-3)


def test_the_least_work_is_six_operations_for_each_weight_and_token_and_two_more_to_recompute() -> None:
    """Short rows of a large model, where attention is next to nothing."""
    model = SHAPES["meta-llama/Llama-2-7b-hf"]
    least, shape = Least(model, 2, 1, 8), RowShape(1, 16)
    weights = parameters(model) - model.vocab_size * model.hidden_size  # tokens are looked up
    plain = least.of_microbatch(shape, remat=False, trained=0)
    assert plain.flops == pytest.approx(6 * weights * 16, rel=2e-3)
    assert plain.tokens == 8 * 16
    again = least.of_microbatch(shape, remat=True, trained=0)
    layers = weights - model.vocab_size * model.hidden_size
    assert again.flops - plain.flops == pytest.approx(2 * layers * 16, rel=2e-3)
    assert least.of_fsdp() == 3 * 2 * parameters(model)
