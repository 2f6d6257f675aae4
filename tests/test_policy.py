"""The public API's promises that are not the sampler's own: inputs, weights, types, cheap import."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envisions_jax import Policy, policy, testing
from envisions_jax.budget import budget
from envisions_jax.config import TrainConfig
from envisions_jax.models.config import ModelError
from envisions_jax.models.llama import Llama


def test_importing_the_package_does_not_import_jax() -> None:
    code = "import sys, envisions_jax; assert 'jax' not in sys.modules; envisions_jax.Policy"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[1])


def test_an_unknown_name_of_the_package_is_an_attribute_error() -> None:
    import envisions_jax

    with pytest.raises(AttributeError, match="Polizei"):
        envisions_jax.Polizei  # noqa: B018


def test_the_same_seed_gives_the_same_tiny_policy(tiny_policy: Policy) -> None:
    again, other = testing.tiny_policy(), testing.tiny_policy(seed=1)
    tokens = np.array([[1, 5, 9]])
    assert np.array_equal(tiny_policy.logits(tokens), again.logits(tokens))
    assert not np.allclose(tiny_policy.logits(tokens), other.logits(tokens))


def test_with_params_shares_compiled_programs(tiny_policy: Policy) -> None:
    tokens = np.array([[1, 5, 9, 11]])
    before = tiny_policy.logits(tokens)
    doubled = tiny_policy.with_params(jax.tree.map(lambda x: 2 * x, tiny_policy.params))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Llama, "__call__", fail_to_trace)
        after = doubled.logits(tokens)
    assert not np.allclose(after, before)
    assert np.array_equal(tiny_policy.logits(tokens), before)


def fail_to_trace(*args: object, **options: object) -> None:
    raise AssertionError("the model was traced again")


@pytest.mark.parametrize("changes", [{"num_layers": 1}, {"intermediate_size": 64}, {"tie_embeddings": True}])
def test_with_params_refuses_those_of_another_model(tiny_policy: Policy, changes: dict[str, Any]) -> None:
    with pytest.raises(ModelError, match="another model"):
        tiny_policy.with_params(testing.tiny_policy(**changes).params)


def test_types_of_computation_and_of_weights(tmp_path: Path, tiny_policy: Policy) -> None:
    tiny_policy.save_pretrained(tmp_path / "m")
    assert Policy.from_pretrained(tmp_path / "m").dtype == jnp.float32  # "auto", on CPU
    half = Policy.from_pretrained(tmp_path / "m", dtype="bfloat16")
    assert half.dtype == jnp.bfloat16 and half.model.head.dtype == jnp.float32
    smaller = Policy.from_pretrained(tmp_path / "m", dtype="bfloat16", param_dtype="bfloat16")
    assert smaller.model.head.dtype == jnp.bfloat16
    tokens = np.array([[1, 5, 9]])
    assert np.allclose(half.logits(tokens), tiny_policy.logits(tokens), atol=0.3)


def test_what_is_computed_in_another_type_is_sampled_with_a_copy(tmp_path: Path, tiny_policy: Policy) -> None:
    """Made once, dropped by `forget`, and in the budget."""
    assert tiny_policy.sampled_with is tiny_policy.params
    tiny_policy.save_pretrained(tmp_path / "m")
    half = Policy.from_pretrained(tmp_path / "m", dtype="bfloat16")
    copy = half.sampled_with
    assert half.sampled_with is copy
    for leaf in jax.tree.leaves(copy):
        assert leaf.dtype == (jnp.bfloat16 if leaf.ndim > 1 else jnp.float32)
    [[found]] = half.generate([[1, 5, 9]], temperature=0.0, max_new_tokens=4)
    [log_probs] = half.score([[1, 5, 9]], [[list(found.tokens)]])
    assert np.allclose(log_probs[0], found.log_probs, atol=0.05)
    half.forget()
    assert half.sampled_with is not copy
    smaller = Policy.from_pretrained(tmp_path / "m", dtype="bfloat16", param_dtype="bfloat16")
    assert smaller.sampled_with is smaller.params
    [[again]] = smaller.generate([[1, 5, 9]], temperature=0.0, max_new_tokens=4)
    assert again.tokens == found.tokens and np.array_equal(again.log_probs, found.log_probs)
    shape = half.plan_stage([[1, 5, 9], [1, 5, 8]], 4)
    sampled, nothing = (budget(one, shape, 8, TrainConfig()).sampled for one in (half, smaller))
    assert sampled == 2 * sum(leaf.size for leaf in jax.tree.leaves(half.params)) and nothing == 0


def test_an_accelerator_computes_in_bfloat16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: "tpu")
    assert policy._compute_dtype("auto") == jnp.bfloat16
    assert policy._compute_dtype("float32") == jnp.float32


def test_end_of_sequence_comes_from_tokenizer_and_config() -> None:
    assert testing.tiny_policy(eos_token_ids=(2, 7)).eos_ids == (2, 7)
    assert testing.tiny_policy(eos_token_ids=()).eos_ids == (2,)
    assert testing.tiny_policy(vocab_size=100, eos_token_ids=()).eos_ids == ()


LONG = [5] * 513
BAD: dict[str, tuple[Callable[[Policy], object], str]] = {
    "k": (lambda p: p.generate(["a"], k=0), "k: got 0; "),
    "temperature": (lambda p: p.generate(["a"], temperature=-0.5), "temperature: got -0.5; "),
    "top_p zero": (lambda p: p.generate(["a"], top_p=0.0), "top_p: got 0.0; "),
    "top_p above one": (lambda p: p.generate(["a"], top_p=1.5), "top_p: got 1.5; "),
    "max_new_tokens": (lambda p: p.generate(["a"], max_new_tokens=0), "max_new_tokens: got 0; "),
    "row_length": (lambda p: p.score(["a"], [["b"]], row_length=-5), "row_length: got -5; "),
    "kept rows": (lambda p: p.plan_scoring(["a"], [["b"]], 8, kept=-1), "kept: got -1; "),
    "nothing to score": (lambda p: p.plan_scoring([], [], 8), "prompts: got none; "),
    "nothing to plan": (lambda p: p.plan_stage([], 8), "prompts: got none; "),
    "slots": (lambda p: p.generate(["a"], slots=0), "slots: got 0; "),
    "ids": (lambda p: p.generate(["a"], ids=[1, 2]), "ids: got 2 of them; "),
    "empty stop": (lambda p: p.generate(["a"], stop=["x", ""]), "stop: got "),
    "stop as text": (lambda p: p.generate(["a"], stop="x"), "stop: got "),
    "prompts as text": (lambda p: p.generate("abc"), "prompts: got "),
    "empty prompt": (lambda p: p.generate([[5], []]), r"prompts\[1\]: got an empty prompt"),
    "long prompt": (lambda p: p.generate([LONG[:512]]), r"prompts\[0\]: got 513 tokens; .*512"),
    "foreign token": (lambda p: p.generate([[5, 100_000]]), "token: got 100000; ids go up to"),
    "beams": (lambda p: p.beam_search(["a"], beams=0), "beams: got 0; "),
    "many beams": (lambda p: p.beam_search(["a"], beams=10**6), "beams: got 1000000; at most 256"),
    "foreign logits": (lambda p: p.logits(np.array([[5, 100_000]])), "token: got 100000"),
    "beam prompt": (lambda p: p.beam_search([[]]), r"prompts\[0\]"),
    "completions": (lambda p: p.score(["a", "b"], [["c"]]), "completions: got 1 lists; .*2 prompts"),
    "completions as text": (lambda p: p.score(["a"], ["c"]), r"completions\[0\]: got 'c'; give a list"),
    "long completion": (lambda p: p.score([[5]], [[LONG[:512]]]), "prompt and completion: got 513 tokens"),
    "foreign completion": (lambda p: p.score([[5]], [[[-1]]]), "token: got -1"),
    "long logits": (lambda p: p.logits(np.array([LONG])), "tokens: got 513 tokens"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_arguments_are_named_with_their_value(name: str, tiny_policy: Policy) -> None:
    call, message = BAD[name]
    with pytest.raises(ValueError, match=message):
        call(tiny_policy)


def test_room_is_made_for_what_the_context_leaves_only(tiny_policy: Policy) -> None:
    context = tiny_policy.config.max_position_embeddings
    prompts = [[5] * (context - 3), [6] * (context - 8)]
    assert tiny_policy.plan_stage(prompts, 10**9).new_length == tiny_policy.plan_stage(prompts, 8).new_length
    [[short], [long]] = tiny_policy.generate(prompts, max_new_tokens=10**9, seed=1)
    assert 0 < len(short.tokens) <= 3
    assert 0 < len(long.tokens) <= 8


def test_a_stranger_to_the_stage_is_refused(tiny_policy: Policy) -> None:
    begin_alike = list(range(10, 20))
    shape = tiny_policy.plan_stage([[*begin_alike, 3], [*begin_alike, 4]], 8)
    for stranger in ([5, *begin_alike[1:], 3], begin_alike, [*begin_alike, *range(3, 103)]):
        with pytest.raises(ValueError, match=r"shape: got one that prompts\[1\] does not fit"):
            tiny_policy.generate([[*begin_alike, 3], stranger], shape=shape)
        with pytest.raises(ValueError, match="shape"):
            tiny_policy.beam_search([[*begin_alike, 3], stranger], shape=shape)


def test_an_unknown_type_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'float16'"):
        policy._named_dtype("dtype", "float16")


def test_score_needs_an_end_of_sequence_to_append_one() -> None:
    nameless = testing.tiny_policy(eos_token_ids=())
    assert nameless.tokenizer is not None
    nameless.tokenizer.eos_id = None
    with pytest.raises(ValueError, match="eos"):
        nameless.score(["a"], [["b"]], eos=True)


def test_no_prompts_give_no_results(tiny_policy: Policy) -> None:
    assert (
        tiny_policy.generate([]) == []
        and tiny_policy.beam_search([]) == []
        and tiny_policy.score([], []) == []
    )


def test_score_takes_text_and_tokens_alike(tiny_policy: Policy) -> None:
    assert tiny_policy.tokenizer is not None
    tokens = tiny_policy.tokenizer.encode_completion(" = 12")
    [[by_text, by_tokens, ended]] = tiny_policy.score(["the"], [[" = 12", tokens, [*tokens, 2]]])
    [[with_eos]] = tiny_policy.score(["the"], [[" = 12"]], eos=True)
    assert np.array_equal(by_text, by_tokens) and len(by_text) == len(tokens)
    assert np.allclose(with_eos, ended, atol=1e-5) and len(ended) == len(tokens) + 1
