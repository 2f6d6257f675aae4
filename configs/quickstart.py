"""SmolLM2-135M teaches itself to write one-line Python programs for generated word problems.

COMMAND: python -m envisions_jax.main --config=configs/quickstart.py --workdir=runs/quickstart
EXPECT:  23.5 % few-shot; 35.5, 41.0, 43.0 % zero-shot after iterations 1 to 3 (seed 0);
         after the third 48.0 and 42.0 % (seeds 1 and 2), controls 25.0, 20.0, 16.0 % (seeds 0 to 2)
COST:    4 to 9 minutes on 2 CPU cores, 17 with set-up and compilation, 5.6 to 6.3 GiB; no network once the
         model is cached

`:tiny` goes through the same stages with a handful of problems in a few minutes.
"""

from ml_collections import ConfigDict

from envisions_jax.config import ConfigError, default_config


def get_config(variant: str = "") -> ConfigDict:
    """The quickstart, or its `tiny` variant."""
    config = default_config()
    config.name = "quickstart"
    config.model.context = 512
    config.tasks.train_size = 96
    config.tasks.steps = (0.4, 0.5, 0.1)
    config.tasks.test_size = 200
    config.sampler.temperature = 0.7
    config.sampler.max_new_tokens = 32
    config.eval.max_new_tokens = 32
    config.eval.shard_tasks = 200
    config.train.learning_rate = 1e-4
    config.train.batch_size = 16
    config.train.epochs = 2
    config.train.max_length = 256
    config.train.rows = 1
    config.sampler.shard_tasks = 96
    config.sampler.slots = 128
    if variant == "tiny":
        config.name = "quickstart-tiny"
        config.tasks.train_size = 12
        config.tasks.test_size = 8
        config.sampler.k = 3
        config.sampler.shard_tasks = 4
        config.sampler.slots = 8
        config.eval.shard_tasks = 4
        config.loop.iterations = 2
        config.train.rows = 1
        config.train.epochs = 1
    elif variant:
        raise ConfigError(f"{variant=}: configs/quickstart.py has the variant 'tiny' only")
    return config
