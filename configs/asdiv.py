"""Real word problems: SmolLM2-135M on 1,000 problems of ASDiv, 700 to train on and 300 to test on.

COMMAND: python -m envisions_jax.main --config=configs/asdiv.py --workdir=runs/asdiv \
             --config.tasks.path=asdiv_1000.jsonl.gz
EXPECT:  19.7 % few-shot; 40.7, 43.3, 45.0 % zero-shot after iterations 1 to 3 (seed 0);
         the control (selection.filter="none") 23.0, 22.7, 21.0 %
COST:    103 minutes on 2 CPU cores with tests running beside it, 8.5 GiB

The quickstart's recipe, but for one epoch, as the paper trains mathematics: there are ten times as many
examples. The file has one {"id", "question", "answer"} a line; the first 700 in id order are trained on.
Without a path the 2,096 problems of the hub's set are used, cut at the same place. `:tiny` takes a dozen.
"""

from ml_collections import ConfigDict

from envisions_jax.config import ConfigError, default_config


def get_config(variant: str = "") -> ConfigDict:
    """The ASDiv experiment, or its `tiny` variant."""
    config = default_config()
    config.name = "asdiv"
    config.model.context = 512
    config.tasks.train = ("asdiv:all[:700]",)
    config.tasks.test = ("asdiv:all[700:]",)
    config.sampler.temperature = 0.7
    config.sampler.max_new_tokens = 32
    config.eval.max_new_tokens = 32
    config.eval.shard_tasks = 300
    config.train.learning_rate = 1e-4
    config.train.batch_size = 16
    config.train.epochs = 1
    config.train.max_length = 256
    config.train.rows = 1
    config.train.row_length = 416  # as measured; 0, as in the quickstart, would choose
    config.sampler.shard_tasks = 140
    config.sampler.slots = 128
    if variant == "tiny":
        config.name = "asdiv-tiny"
        config.tasks.train_size = 12
        config.tasks.test_size = 8
        config.sampler.k = 3
        config.sampler.shard_tasks = 4
        config.sampler.slots = 8
        config.loop.iterations = 2
        config.train.rows = 1
        config.train.epochs = 1
    elif variant:
        raise ConfigError(f"{variant=}: configs/asdiv.py has the variant 'tiny' only")
    return config
