"""The embedded default model against transformers: SmolLM2-135M-Instruct, float32."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

from envisions_jax import Policy
from tests.models.hf_parity import hf_logits

pytestmark = pytest.mark.slow

PROMPTS = [
    "def f(x):\n    return  12 + 3",
    "Once upon a time, in a village by the sea, there lived",
    "x  5",
    "[\n    1,\n    2]",
    "Question: Tom has 3 apples and buys 4 more. How many apples has he?\nresult =",
    "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n",
    "Äpfel, 你好 und 🙂 — naïve café",
    "The quick brown fox jumps over the lazy dog. " * 8,
]


@pytest.fixture(scope="session")
def exported(smollm2: Policy, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("smollm2") / "exported"
    smollm2.save_pretrained(folder)
    return folder


def test_logits_equal_transformers_on_eight_prompts(smollm2: Policy, exported: Path) -> None:
    import torch
    import transformers

    assert smollm2.tokenizer is not None
    model = transformers.AutoModelForCausalLM.from_pretrained(exported, dtype=torch.float32).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    rows = [smollm2.tokenizer.encode(prompt) for prompt in PROMPTS]
    assert rows == [tokenizer(prompt).input_ids for prompt in PROMPTS]
    padded = np.zeros((len(rows), max(map(len, rows))), np.int32)
    for row, tokens in zip(padded, rows, strict=True):
        row[: len(tokens)] = tokens
    ours = np.asarray(smollm2.logits(padded))
    for row, tokens in zip(ours, rows, strict=True):
        theirs = hf_logits(model, np.asarray([tokens]))[0]
        assert np.abs(theirs).max() > 20
        assert np.abs(row[: len(tokens)] - theirs).max() <= 2e-3


def test_round_trip_is_bit_exact(smollm2: Policy, exported: Path) -> None:
    again = Policy.from_pretrained(exported, dtype="float32")
    assert again.config == smollm2.config
    assert jax.tree.all(jax.tree.map(lambda a, b: bool((a == b).all()), smollm2.params, again.params))


def test_the_chat_template_is_transformers_own(smollm2: Policy, exported: Path) -> None:
    import transformers

    assert smollm2.tokenizer is not None
    conversation = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "2 + 2?"},
        {"role": "assistant", "content": "4"},
        {"role": "user", "content": "And 3  + 3?"},
    ]
    tokenizer = transformers.AutoTokenizer.from_pretrained(exported)
    for messages in (conversation, conversation[1:2]):
        theirs = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
        assert smollm2.tokenizer.apply_chat(messages) == theirs
