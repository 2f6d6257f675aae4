"""The peer of the iteration's benchmark goes through our stages, on a model and tasks that take seconds."""

from pathlib import Path

import torch
import transformers

from benchmarks.iteration import STAGES, WHOLE, Part, Start, turns_of
from benchmarks.models import Contenders
from envisions_jax import Policy
from tests.tiny_experiment import TEST_TASKS, TRAIN_TASKS, make_config, make_experiment


def test_both_sides_do_the_whole_iteration(tmp_path: Path) -> None:
    make_experiment(tmp_path)
    config = make_config(
        tmp_path,
        loop__iterations=2,
        eval__base=False,
        checkpoint__export=False,
        sampler__shard_tasks=TRAIN_TASKS,
    )
    policy = Policy.from_pretrained(tmp_path / "model", dtype="float32")
    peer = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "model", dtype=torch.float32)
    start = Start(tmp_path, Contenders(policy, peer), config)
    for name, iterate in (("ours", start.ours), ("transformers", start.peer)):
        parts: list[dict[str, Part]] = []
        side = turns_of(name, start, iterate, parts)
        side.warm()
        work = side.run(0)
        candidates = 2 * TRAIN_TASKS * config.sampler.k  # explorations and refinements
        assert work.note.startswith(f"{candidates} candidates, ")
        assert f" of {TEST_TASKS} tests right" in work.note
        assert all(parts[-1][stage].seconds > 0 for stage in STAGES)
        floors = {stage: part.flops for stage, part in parts[-1].items()}
        assert floors["execute"] == 0 and all(floors[stage] > 0 for stage in STAGES if stage != "execute")
        assert floors[WHOLE] == sum(floors[stage] for stage in STAGES)
    assert set(start.batches) == {"sample", "greedy", "score", "train"}
