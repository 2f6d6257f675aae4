"""Sampling, scoring and beam search on a mesh of eight devices beside the same on one."""

import jax
import numpy as np
import pytest

from envisions_jax import Policy
from envisions_jax.parallel import MeshConfig, make_mesh
from envisions_jax.sampling import decode
from envisions_jax.testing import tiny_policy

MESHES = [MeshConfig(), MeshConfig(data=2), MeshConfig(data=2, tensor=2)]
BEGINNING = list(range(20, 34))
PROMPTS = [[*BEGINNING, 60 + task, *[task + 3] * (task % 7 + 4)] for task in range(21)]
# Of one task three prompts that begin alike: roots that are shared without K > 1.
REFINEMENTS = [[*BEGINNING, 60 + task, *[task + 3] * 40, 90 + k, 7] for task in range(12) for k in range(3)]


@pytest.fixture(scope="module")
def alone() -> Policy:
    return tiny_policy(vocab_size=268)


@pytest.fixture(scope="module", params=MESHES, ids=str)
def together(request: pytest.FixtureRequest, alone: Policy) -> Policy:
    return alone.on_mesh(make_mesh(request.param))


def assert_same(expected: list, found: list) -> None:
    for one, other in zip(expected, found, strict=True):
        assert [x.tokens for x in one] == [x.tokens for x in other]
        assert [x.finish_reason for x in one] == [x.finish_reason for x in other]
        for a, b in zip(one, other, strict=True):
            assert np.abs(a.log_probs - b.log_probs).max() <= 1e-5


@pytest.mark.parametrize("prompts", [PROMPTS, PROMPTS[:3], REFINEMENTS], ids=["many", "few", "refinements"])
@pytest.mark.parametrize("k", [1, 5])
def test_candidates_are_those_of_one_device(
    alone: Policy, together: Policy, prompts: list[list[int]], k: int
) -> None:
    settings = {"k": k, "temperature": 0.8, "top_p": 0.9, "max_new_tokens": 12, "seed": 3}
    expected = alone.generate(prompts, slots=16, **settings)
    assert_same(expected, together.generate(prompts, slots=64, **settings))


def test_greedy_candidates_are_those_of_one_device(alone: Policy, together: Policy) -> None:
    settings = {"temperature": 0.0, "max_new_tokens": 20}
    assert_same(alone.generate(PROMPTS, **settings), together.generate(PROMPTS, **settings))


def test_scores_are_those_of_one_device(alone: Policy, together: Policy) -> None:
    completions = [[[5 + k, *range(40, 41 + task + k)] for k in range(3)] for task in range(len(PROMPTS))]
    expected, found = alone.score(PROMPTS, completions), together.score(PROMPTS, completions)
    for one, other in zip(expected, found, strict=True):
        for a, b in zip(one, other, strict=True):
            assert np.abs(a - b).max() <= 1e-5


def test_beams_are_those_of_one_device(alone: Policy, together: Policy) -> None:
    expected = alone.beam_search(PROMPTS[:5], beams=3, max_new_tokens=8)
    found = together.beam_search(PROMPTS[:5], beams=3, max_new_tokens=8)
    for one, other in zip(expected, found, strict=True):
        assert [beam.tokens for beam in one] == [beam.tokens for beam in other]
        np.testing.assert_allclose([b.score for b in one], [b.score for b in other], atol=1e-5)


def test_weights_are_in_parts_and_sampled_with_whole(together: Policy) -> None:
    """In every lane, that is: `tensor` divides the inside of layers."""
    assert together.layout is not None
    sizes = {axis: together.layout.mesh.shape[axis] for axis in ("fsdp", "tensor")}
    for leaf in jax.tree.leaves(together.params):
        assert leaf.addressable_shards[0].data.size <= leaf.size / sizes["fsdp"]
    for leaf in jax.tree.leaves(together.sampled_with):
        assert leaf.addressable_shards[0].data.size >= leaf.size / sizes["tensor"]


def test_decoding_is_compiled_once(together: Policy) -> None:
    """Empty caches lie as full ones do. Slots of its own, so that the program is new."""
    before = decode.decode._cache_size()
    for seed in range(2):
        together.generate(PROMPTS, k=2, max_new_tokens=9, slots=72, seed=seed)
    assert decode.decode._cache_size() == before + 1
