"""LoRA: gradients against PyTorch's, merging, resuming, and what it spares."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
import transformers
from flax import nnx

from envisions_jax import Policy, testing
from envisions_jax.config import Config, with_values
from envisions_jax.config_rules import ConfigError
from envisions_jax.models.lora import merge, new_adapters
from envisions_jax.models.weights import flat, slot
from envisions_jax.stages.run import check_adapters
from envisions_jax.training import CheckpointError, Example, StepStats, TrainConfig, Trainer
from envisions_jax.training.packing import Microbatch, pack, row_shapes
from envisions_jax.training.step import SMALL, TrainStep, microbatch_loss

EXAMPLES = [Example([1, 20 + n, *range(30, 33 + n % 5)], [50 + n, 61, 2], "L1") for n in range(12)]
CONFIG = TrainConfig(
    learning_rate=1e-2,
    batch_size=4,
    rows=1,
    row_length=32,
    max_length=32,
    lora_rank=3,
    lora_alpha=6.0,
    checkpoint_every_steps=1,
)


def microbatches() -> list[Microbatch]:
    return pack(EXAMPLES, row_shapes(1, 128, 128))


def largest_difference(a: Any, b: Any) -> float:
    pairs = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    return max(float(np.abs(np.asarray(x, np.float32) - np.asarray(y, np.float32)).max()) for x, y in pairs)


def random_adapters(policy: Policy) -> nnx.State:
    """With a B that is not zero, so that A has a gradient."""
    adapters = new_adapters(policy.params, CONFIG.lora_rank, jax.random.key(1))
    leaves, structure = jax.tree.flatten(adapters)
    keys = jax.random.split(jax.random.key(2), len(leaves))
    values = [0.1 * jax.random.normal(key, leaf.shape) for key, leaf in zip(keys, leaves, strict=True)]
    return jax.tree.unflatten(structure, values)


def test_gradients_equal_those_of_merged_weights_in_pytorch(tmp_path: Path) -> None:
    policy = testing.tiny_policy()
    adapters = random_adapters(policy)
    step = TrainStep(policy.graphdef, CONFIG)
    _, sums, _ = step.start(policy.params, 0)
    sums = step.accumulate_all(sums, adapters, policy.params, microbatches())

    policy.save_pretrained(tmp_path)
    model = transformers.LlamaForCausalLM.from_pretrained(tmp_path, dtype=torch.float64)
    own = {path: torch.tensor(np.asarray(leaf[...]), dtype=torch.float64) for path, leaf in flat(adapters)}
    for matrix in own.values():
        matrix.requires_grad_()
    weights = dict(model.named_parameters())
    for path in [path for path in own if path[-1] == "a"]:
        name = slot((*path[:-2], "kernel")).name
        weights[name] = weights[name] + 2.0 * (own[path] @ own[(*path[:-1], "b")]).T
    losses = []
    for example in EXAMPLES:
        tokens = torch.tensor([(*example.prompt_tokens, *example.completion_tokens)])
        logits = torch.func.functional_call(model, weights, (tokens,)).logits
        log_probs = torch.log_softmax(logits[0, :-1], -1).gather(1, tokens[0, 1:, None])
        losses.append(-log_probs[-len(example.completion_tokens) :].mean())
    loss = torch.stack(losses).mean()
    loss.backward()
    assert float(sums.kinds.sum()) == pytest.approx(loss.item(), abs=1e-5)
    largest = 0.0
    for path, gradient in flat(sums.grads):
        wanted = own[path].grad
        assert wanted is not None
        largest = max(largest, float(wanted.abs().max()))
        np.testing.assert_allclose(gradient[...], wanted, atol=1e-5)
    assert largest > 1e-3


def test_merged_weights_compute_what_the_adapters_did() -> None:
    policy = testing.tiny_policy()
    adapters, scale = random_adapters(policy), CONFIG.lora_scale
    [microbatch] = microbatches()
    beside, _ = microbatch_loss(policy.graphdef, policy.params, microbatch, adapters=adapters, scale=scale)
    merged, _ = microbatch_loss(policy.graphdef, merge(policy.params, adapters, scale), microbatch)
    without, _ = microbatch_loss(policy.graphdef, policy.params, microbatch)
    assert float(beside) == pytest.approx(float(merged), abs=1e-5)
    assert abs(float(beside) - float(without)) > 1e-2


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_training_changes_the_linear_maps_of_the_layers_alone(dtype: str) -> None:
    policy = testing.tiny_policy()
    params = jax.tree.map(lambda x: x.astype(dtype), policy.params)
    trainer = Trainer(policy, CONFIG)
    losses = []
    trained, _ = trainer.train(params, EXAMPLES, epochs=6, on_step=lambda stats: losses.append(stats.loss))
    assert losses[-1] < 0.7 * losses[0]
    assert trainer.compiled == 3
    before = dict(flat(params))
    for path, variable in flat(trained):
        same = bool(jnp.array_equal(variable[...], before[path][...]))
        assert variable[...].dtype == dtype
        assert same == (path[-1] != "kernel")


def interrupt(stats: StepStats) -> None:
    if stats.step == 3:
        raise KeyboardInterrupt


def test_adapters_begin_otherwise_with_another_seed() -> None:
    policy = testing.tiny_policy()
    step = TrainStep(policy.graphdef, CONFIG)
    one, again, other = (step.start(policy.params, seed).state.params for seed in (3, 3, 4))
    assert largest_difference(one, again) == 0.0
    for path, leaf in flat(one):
        assert bool(jnp.array_equal(leaf[...], dict(flat(other))[path][...])) == (path[-1] == "b"), path


def test_adapters_are_not_continued_beside_other_weights(tmp_path: Path) -> None:
    """Of which the small arrays are the same, as adapters leave them."""
    policy = testing.tiny_policy(hidden_size=64, intermediate_size=1056)
    trainer = Trainer(policy, CONFIG)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(policy.params, EXAMPLES, checkpoint_dir=tmp_path, on_step=interrupt)
    other = jax.tree.map(lambda x: x + (x.size > SMALL) * 1e-6, policy.params)
    with pytest.raises(CheckpointError, match="different large weights"):
        trainer.train(other, EXAMPLES, checkpoint_dir=tmp_path)


def test_an_interrupted_training_ends_as_a_whole_one(tmp_path: Path) -> None:
    policy = testing.tiny_policy()
    trainer = Trainer(policy, CONFIG)
    whole, _ = trainer.train(policy.params, EXAMPLES, seed=3)
    with pytest.raises(KeyboardInterrupt):
        trainer.train(policy.params, EXAMPLES, seed=3, checkpoint_dir=tmp_path, on_step=interrupt)
    resumed, stats = trainer.train(policy.params, EXAMPLES, seed=3, checkpoint_dir=tmp_path)
    assert stats.resumed_from == 2
    assert largest_difference(whole, resumed) == 0.0


def test_a_step_spares_the_gradients_of_weights() -> None:
    """In arithmetic (two passes of three) and in memory, that of the embedding too."""
    policy = testing.tiny_policy(hidden_size=128, intermediate_size=512, num_layers=3, vocab_size=2048)
    [microbatch] = microbatches()
    compiled = {}
    for rank in (0, 4):
        step = TrainStep(policy.graphdef, TrainConfig(lora_rank=rank))
        state, sums, _ = jax.eval_shape(step.start, policy.params, 0)
        frozen = step.frozen(policy.params)
        compiled[rank] = step.accumulate.lower(sums, state.params, frozen, microbatch).compile()
    flops = {rank: program.cost_analysis()["flops"] for rank, program in compiled.items()}
    temporary = {rank: program.memory_analysis().temp_size_in_bytes for rank, program in compiled.items()}
    assert flops[4] < 0.75 * flops[0]
    assert temporary[4] < temporary[0] - 2048 * 128 * 4


def test_a_rank_beyond_the_weights_is_refused(tiny_policy: Policy) -> None:
    config = with_values(Config(), {"train.lora_rank": 17})
    with pytest.raises(ConfigError, match=r"train.lora_rank=17: .* allows 1 to 16"):
        check_adapters(config, tiny_policy.config)
    check_adapters(with_values(config, {"train.lora_rank": 16}), tiny_policy.config)
