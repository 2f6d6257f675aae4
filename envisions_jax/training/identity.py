"""What tells one training from another: its checkpoints go on under the same only."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from envisions_jax import hosts
from envisions_jax.joining import HostsError
from envisions_jax.training.config import TrainConfig
from envisions_jax.training.examples import Example, fingerprint_examples
from envisions_jax.training.packing import PACKING
from envisions_jax.training.step import SMALL


def identity_of(
    settings: TrainConfig, params0: Any, sums: Any, examples: Sequence[Example], seed: int
) -> dict[str, Any]:
    """What a checkpoint must agree on to be continued, JSON-able.

    settings: as they are carried out: with the number of epochs and the row length of this training.
    sums: those that `TrainStep.start` tells of `params0`.
    """
    of_result = dataclasses.asdict(settings)
    unused = () if settings.lora_rank else ("lora_rank", "lora_alpha")
    for name in ("checkpoint_every_steps", "keep", *unused):  # how often is not what
        del of_result[name]
    return {
        "version of packing": PACKING,
        "settings": of_result,
        "seed": seed,
        "examples": fingerprint_examples(examples),
        "weights": _fingerprint_small(params0),
        "large weights": np.asarray(sums).tolist(),
    }


def check_alike(identity: dict[str, Any]) -> None:
    """Raise HostsError if the processes of a run are about to train on different things."""
    everybody = hosts.gather(identity)
    differing = [name for name in identity if any(own[name] != everybody[0][name] for own in everybody)]
    if differing:
        raise HostsError(
            f"the processes of this run do not train on the same: different {', '.join(differing)}. Their "
            "environments may have answered differently; start all of them again"
        )


def _fingerprint_small(params: Any) -> str:
    """Digest of names and shapes, and of the values of small arrays; of the large ones `start` tells sums."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode())
        if leaf.size <= SMALL:
            digest.update(hosts.fetched(leaf).tobytes())
    return digest.hexdigest()
