"""One step against PyTorch, and proof that examples in one row do not see each other."""

from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
import transformers

from envisions_jax import Policy, testing
from envisions_jax.models.llama import abstract
from envisions_jax.parallel import Layout, MeshConfig, make_mesh
from envisions_jax.training.config import TrainConfig
from envisions_jax.training.examples import Example
from envisions_jax.training.packing import Microbatch, pack, row_shapes
from envisions_jax.training.step import STACK, TrainStep, clip_by_global_norm, microbatch_loss

EXAMPLES = [
    Example([1, 17, 30, 44], [50, 61, 2], "L1"),
    Example([1, 9], [33, 2], "L2"),
    Example([1, 101, 102, 103, 104, 105], [7], "L1"),
    Example([1, 20, 21, 22, 23, 24, 25, 26, 27], [200, 201, 202, 203, 204, 205, 2], "L2"),
    Example([5], [5, 5, 5], "L1"),
    Example([1, 17, 30, 44], [50, 62, 63, 2], "L1"),  # the first one's prompt
    Example([1, 17, 30, 44, 50, 61], [2], "L2"),  # all that the first one reads
    Example([5], [5, 5, 5], "L1"),  # once more
]
SHAPES = row_shapes(rows=1, row_length=24, max_length=64)


def torch_loss(model: Any, kind: str | None = None) -> torch.Tensor:
    """Mean over examples of the mean over completion tokens: each example alone, no packing, float64."""
    losses = []
    for example in EXAMPLES:
        if kind in (None, example.kind):
            tokens = torch.tensor([(*example.prompt_tokens, *example.completion_tokens)])
            log_probs = torch.log_softmax(model(tokens).logits[0, :-1], -1)
            count = len(example.completion_tokens)
            losses.append(-log_probs.gather(1, tokens[0, 1:, None])[-count:].mean())
    return torch.stack(losses).mean()


def torch_model(policy: Policy, folder: Path) -> Any:
    policy.save_pretrained(folder)
    return transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float64)


def in_our_layout(model: Any, folder: Path) -> Any:
    model.to(torch.float32).save_pretrained(folder)
    return Policy.from_pretrained(folder, dtype="float32").params


def accumulated(step: TrainStep, params: Any) -> Any:
    state, sums, _ = step.start(params, 0)
    return step.accumulate_all(sums, state.params, (), pack(EXAMPLES, SHAPES))


def largest_difference(a: Any, b: Any) -> float:
    return max(jax.tree.leaves(jax.tree.map(lambda x, y: float(np.abs(x - y).max()), a, b)))


@pytest.mark.parametrize("tied", [False, True])
def test_l1_l2_gradient_and_update_equal_pytorch(tied: bool, tmp_path: Path) -> None:
    policy = testing.tiny_policy(tie_embeddings=tied)
    config = TrainConfig(learning_rate=1e-4, clip_norm=0.1, row_length=24, rows=1, max_length=64)
    step = TrainStep(policy.graphdef, config)
    sums = accumulated(step, policy.params)

    model = torch_model(policy, tmp_path / "start")
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, betas=(0.9, 0.999), eps=1e-8, weight_decay=0)
    loss = torch_loss(model)
    loss.backward()
    kinds = [torch_loss(model, kind).item() for kind in ("L1", "L2")]
    counts = [sum(example.kind == kind for example in EXAMPLES) for kind in ("L1", "L2")]
    np.testing.assert_allclose(sums.kinds * len(EXAMPLES) / np.asarray(counts), kinds, atol=1e-5)
    assert float(sums.kinds.sum()) == pytest.approx(loss.item(), abs=1e-5)

    weights = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(parameter.grad)
    assert largest_difference(sums.grads, in_our_layout(model, tmp_path / "gradient")) <= 1e-5

    with torch.no_grad():
        for name, parameter in model.to(torch.float64).named_parameters():
            parameter.copy_(weights[name])
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    optimizer.step()
    state, *_ = step.start(policy.params, 0)
    state, anew, found_norm, _ = step.update(state, sums, jnp.float32(1e-4))
    assert float(found_norm) == pytest.approx(float(norm), abs=1e-5)
    assert largest_difference(state.params, in_our_layout(model, tmp_path / "after")) <= 1e-5
    again = step.accumulate_all(anew, policy.params, (), pack(EXAMPLES, SHAPES))
    assert largest_difference(again, accumulated(step, policy.params)) == 0.0


@pytest.mark.parametrize("scale", [0.0, 0.01, 1.0, 1e4])
def test_gradients_are_clipped_as_optax_does(scale: float) -> None:
    rng = np.random.default_rng(0)
    grads = {"a": scale * rng.normal(size=(3, 5)), "b": scale * rng.normal(size=7)}
    grads = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), grads)
    ours, theirs = (
        clip.update(grads, clip.init(grads))[0]
        for clip in (clip_by_global_norm(0.5), optax.clip_by_global_norm(0.5))
    )
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-6), ours, theirs)
    assert float(optax.tree.norm(ours)) == pytest.approx(min(0.5, float(optax.tree.norm(grads))), rel=1e-5)


@partial(jax.jit, static_argnums=0)
def _gradient(graphdef: Any, params: Any, microbatch: Microbatch) -> tuple[Any, Any]:
    return jax.grad(lambda params: microbatch_loss(graphdef, params, microbatch), has_aux=True)(params)


def gradient(policy: Policy, microbatch: Microbatch) -> tuple[Any, Any]:
    return _gradient(policy.graphdef, policy.params, microbatch)


def where(batch: Microbatch, examples: list[Example]) -> list[tuple[set[int], slice]]:
    """Of each example the places of the row that it reads, and its target slots, in reading order."""
    order = sorted(
        range(len(examples)),
        key=lambda i: [*examples[i].prompt_tokens, *examples[i].completion_tokens][:-1],
    )
    found, start = dict[int, tuple[set[int], slice]](), 0
    for i in order:
        end = start + len(examples[i].completion_tokens)
        last = int(batch.target_index[end - 1])
        places = {s for s in range(last + 1) if last < batch.ends[0, s]}
        found[i] = places, slice(start, end)
        start = end
    return [found[i] for i in range(len(examples))]


@pytest.mark.parametrize("examples", [EXAMPLES[:3], [EXAMPLES[0], EXAMPLES[5], EXAMPLES[1]]])
@pytest.mark.parametrize("perturbed", [0, 1, 2])
def test_no_example_sees_another_in_its_row(
    tiny_policy: Policy, examples: list[Example], perturbed: int
) -> None:
    """With the weight of one example set to 0, changing its own tokens changes no bit of loss or gradient."""
    (batch,) = pack(examples, SHAPES)
    found = where(batch, examples)
    places, slots = found[perturbed]
    others = set.union(*(theirs for i, (theirs, _) in enumerate(found) if i != perturbed))
    own = sorted(places - others)
    assert batch.target_ids[slots].tolist() == list(examples[perturbed].completion_tokens) and own
    weights, tokens, targets = (
        array.copy() for array in (batch.target_weights, batch.tokens, batch.target_ids)
    )
    weights[slots] = 0
    tokens[0, own] += 13
    targets[slots] += 29
    silent = batch._replace(target_weights=weights)
    changed = silent._replace(tokens=tokens, target_ids=targets)
    before, after = gradient(tiny_policy, silent), gradient(tiny_policy, changed)
    assert largest_difference(before, after) == 0
    # The test can fail: the same change matters as soon as the example counts.
    assert largest_difference(gradient(tiny_policy, batch), before) > 1e-3


def test_packed_together_equals_one_by_one(tiny_policy: Policy) -> None:
    step = TrainStep(tiny_policy.graphdef, TrainConfig())
    together = accumulated(step, tiny_policy.params)
    state, alone, _ = step.start(tiny_policy.params, 0)
    for example in EXAMPLES:
        (batch,) = pack([example], SHAPES)
        share = (batch.target_weights / len(EXAMPLES)).astype(np.float32)
        alone = step.accumulate(alone, state.params, (), batch._replace(target_weights=share))
    assert largest_difference(together[:2], alone[:2]) <= 1e-6  # not how many there were


def test_recomputing_activations_changes_nothing(tiny_policy: Policy) -> None:
    plain = accumulated(TrainStep(tiny_policy.graphdef, TrainConfig()), tiny_policy.params)
    remat = accumulated(TrainStep(tiny_policy.graphdef, TrainConfig(remat=True)), tiny_policy.params)
    assert largest_difference(plain, remat) <= 1e-6


def test_no_tensor_of_all_positions_and_the_vocabulary() -> None:
    (batch,) = pack(EXAMPLES, row_shapes(rows=1, row_length=512, max_length=512))
    policy = testing.tiny_policy(vocab_size=5003)
    loss = jax.grad(lambda params: microbatch_loss(policy.graphdef, params, batch)[0])
    text = str(jax.make_jaxpr(loss)(policy.params))
    assert "5003" in text
    assert "512,5003" not in text


def test_weights_in_bfloat16_are_trained_in_float32(tiny_policy: Policy) -> None:
    half = jax.tree.map(lambda p: p.astype(jnp.bfloat16), tiny_policy.params)
    state, *_ = TrainStep(tiny_policy.graphdef, TrainConfig()).start(half, 0)
    assert {leaf.dtype for leaf in jax.tree.leaves(state.params)} == {jnp.dtype("float32")}


def test_one_program_loops_over_any_number_of_microbatches() -> None:
    policy = testing.tiny_policy()
    step = TrainStep(policy.graphdef, TrainConfig(rows=1, row_length=24, max_length=48))
    short = [Example([1, 17 + n], [50, 61, 2 + n]) for n in range(100)]
    long = Example([1, *range(20, 50)], [7, 8])
    microbatches = pack([long, *short], row_shapes(1, 24, 48))
    shapes = [microbatch.tokens.shape for microbatch in microbatches]
    assert shapes[-1] == (1, 48) and len(shapes) > STACK + 1  # several calls
    assert shapes.count((1, 24)) % STACK  # of which one is not full
    state, one_by_one, _ = step.start(policy.params, 0)
    for microbatch in microbatches:
        one_by_one = step.accumulate(one_by_one, state.params, (), microbatch)
    _, together, _ = step.start(policy.params, 0)
    together = step.accumulate_all(together, state.params, (), microbatches)
    jax.tree.map(partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6), together, one_by_one)
    np.testing.assert_allclose(
        np.asarray(together.kinds).sum(), np.asarray(one_by_one.kinds).sum(), rtol=1e-6
    )
    compiled = step.compiled
    for count in (1, 3, STACK, 2 * STACK):
        together = step.accumulate_all(together, state.params, (), microbatches[:1] * count)
    assert step.compiled == compiled

    other, sums, _ = step.start(policy.params, 0)
    state, _, norm, kinds = step.update(state, one_by_one, np.float32(1e-3))
    other, sums, other_norm, other_kinds = step.one_step(other, sums, (), microbatches, np.float32(1e-3))
    assert float(other_norm) == pytest.approx(float(norm), rel=1e-5)
    np.testing.assert_allclose(other_kinds, kinds, rtol=1e-5)
    assert largest_difference(other.params, state.params) <= 1e-5
    assert int(sums.added) == 0
    compiled = step.compiled
    for count in (1, 3, STACK, 2 * STACK):
        other, sums, *_ = step.one_step(other, sums, (), microbatches[:1] * count, np.float32(1e-3))
    assert step.compiled == compiled


@pytest.mark.parametrize("tied", [True, False])
def test_a_mesh_that_computes_in_bfloat16_learns_what_float32_does(tied: bool) -> None:
    """On one device here: what is gathered, and what comes back of it, is in the type that is computed in."""
    losses = {}
    for dtype in ("float32", "bfloat16"):
        policy = testing.tiny_policy(tie_embeddings=tied)
        graphdef, _ = abstract(policy.config, dtype=jnp.dtype(dtype))
        layout = Layout(policy.config, make_mesh(MeshConfig(), jax.devices()[:1]))
        step = TrainStep(graphdef, TrainConfig(rows=1, row_length=32), layout)
        state, sums, _ = step.start(policy.params, 0)
        [microbatch] = pack([Example([1, 2, 3], [4, 5], "L1")], row_shapes(1, 32, 32))
        sums = step.accumulate(
            sums, state.params, (), microbatch._replace(num_targets=np.array([2], np.int32))
        )
        state, _, norm, kinds = step.update(state, sums, np.float32(1e-3))
        losses[dtype] = float(np.asarray(kinds).sum()), float(norm)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state.params))
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], rtol=0.02)
