"""The same weights on both sides: SmolLM2-135M as our policy and as transformers' model, in float32."""

from __future__ import annotations

import copy
import dataclasses
import os
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import torch
import transformers

from benchmarks.measure import BenchmarkError
from envisions_jax import Policy
from envisions_jax.tokenizer import Tokenizer

MODEL = "smollm2-135m"
LOGITS_AGREE = 2e-3  # where logits are about 30 in size


@dataclasses.dataclass(frozen=True, eq=False)
class Contenders:
    """Ours and the peer, ready to compute."""

    policy: Policy
    peer: Any  # transformers.LlamaForCausalLM; transformers ships no types

    @property
    def tokenizer(self) -> Tokenizer:
        if self.policy.tokenizer is None:
            raise BenchmarkError(f"{MODEL} came without a tokenizer; fetch it again")
        return self.policy.tokenizer

    def peer_in(self, dtype: str) -> Any:
        """The peer computing in another type ("float32", "bfloat16")."""
        return self.peer if dtype == "float32" else copy.deepcopy(self.peer).to(getattr(torch, dtype))

    def fresh_policy(self) -> Policy:
        """The same weights and compiled programs with nothing remembered of earlier calls' prompts."""
        return self.policy.with_params(self.policy.params)


def cores() -> int:
    """Cores this process may use."""
    return len(os.sched_getaffinity(0))


def load() -> Contenders:
    """Both sides on the CPU, with as many threads as cores, checked to give the same logits.

    Raises:
      BenchmarkError: they do not.
    """
    jax.config.update("jax_platforms", "cpu")
    torch.set_num_threads(cores())
    transformers.utils.logging.disable_progress_bar()
    policy = Policy.from_pretrained(MODEL, dtype="float32")
    with tempfile.TemporaryDirectory(prefix="envisions-benchmark-") as parent:
        folder = Path(parent) / "model"
        policy.save_pretrained(folder)
        peer = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        # The file is mapped into memory; the copy outlives the folder and is not read from it page by page.
        peer.load_state_dict(
            {name: tensor.clone() for name, tensor in peer.state_dict().items()}, assign=True
        )
    peer.tie_weights()
    contenders = Contenders(policy, peer.eval())
    _check(contenders)
    return contenders


def _check(contenders: Contenders) -> None:
    tokens = np.asarray([contenders.tokenizer.encode("Question: Tom has 3 apples and eats 2.\nresult =")])
    with torch.inference_mode():
        theirs = contenders.peer(torch.from_numpy(tokens)).logits.numpy()
    difference = float(np.abs(np.asarray(contenders.policy.logits(tokens)) - theirs).max())
    if not difference <= LOGITS_AGREE:
        raise BenchmarkError(f"the two sides' logits differ by {difference:.2g}: not the same weights")
