"""The paper's mathematics experiment: LLaMA-2-7B-Chat on GSM8K and MATH (arXiv 2406.11736, section 3.1).

COMMAND: python -m envisions_jax.main --config=configs/math.py --workdir=runs/math-7b \
             --config.model.path=/models/Llama-2-7b-chat-hf
EXPECT:  the paper's 7B row after 10 iterations: GSM8K 58.98, MATH 19.00, GSM-Hard 48.52, SVAMP 72.40,
         ASDiv 69.80 (not reproduced here: it needs accelerators)
COST:    134,920 samples and about 1,000 optimiser steps an iteration: days on eight accelerators

Data sets come from the hub (`pip install 'envisions-jax[data]'`), or from a folder by --config.tasks.path.
`:tiny` keeps prompts, beams and the shape of the loop, on generated problems and the small default model.
"""

from ml_collections import ConfigDict

from envisions_jax.config import ConfigError, default_config


def get_config(variant: str = "") -> ConfigDict:
    """The paper's settings, or the `tiny` variant."""
    config = default_config()
    config.name = "math"
    config.model.path = "meta-llama/Llama-2-7b-chat-hf"
    config.model.context = 4096
    config.tasks.train = ("gsm8k", "math")
    config.tasks.test = ("gsm8k", "math", "gsm_hard", "svamp", "asdiv")
    config.prompt.style = "pal"
    config.prompt.shots = 3
    config.env.workers = 8
    config.sampler.k = 5
    config.sampler.temperature = 1.0
    config.sampler.max_new_tokens = 1024
    config.sampler.shard_tasks = 256
    config.selection.n1 = 10
    config.selection.n2 = 2
    config.train.learning_rate = 2e-5
    config.train.batch_size = 128
    config.train.epochs = 1
    config.train.max_length = 2048
    config.train.row_length = 2048
    config.train.rows = 1
    config.train.remat = True
    config.eval.beams = 2
    config.eval.max_new_tokens = 1024
    config.eval.shard_tasks = 256
    config.loop.iterations = 10
    if variant == "tiny":
        _shrink(config)
    elif variant:
        raise ConfigError(f"{variant=}: configs/math.py has the variant 'tiny' only")
    return config


def _shrink(config: ConfigDict) -> None:
    config.name = "math-tiny"
    config.model.path = "smollm2-135m"
    config.model.context = 1024
    config.tasks.train = ("generated",)
    config.tasks.test = ("generated",)
    config.tasks.steps = (1.0,)
    config.tasks.train_size = 6
    config.tasks.test_size = 2
    config.env.workers = 2
    config.sampler.k = 3
    config.sampler.temperature = 0.7
    config.sampler.max_new_tokens = 64
    config.sampler.shard_tasks = 6
    config.eval.max_new_tokens = 48
    config.train.max_length = 512
    config.train.row_length = 512
    config.train.batch_size = 4
    config.loop.iterations = 2
    config.checkpoint.every_steps = 0
