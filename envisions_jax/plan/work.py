"""What programs have to compute and to read at the least: the floor that no device can go below.

Rows are taken to be full, with a target at each place in training, and all slots to be in use.
"""

from __future__ import annotations

import dataclasses
import math

from envisions_jax.models.config import LlamaConfig
from envisions_jax.models.llama import abstract
from envisions_jax.models.weights import flat
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.training.packing import RowShape


@dataclasses.dataclass(frozen=True, kw_only=True)
class Work:
    """What one device has to do in one run of a program, or in one step of its loop."""

    flops: float = 0.0
    bytes: float = 0.0  # between its memory and its cores
    tokens: int = 0  # in all lanes


@dataclasses.dataclass(frozen=True)
class Least:
    """The work of a model whose weights take `itemsize` bytes each where they are computed with."""

    config: LlamaConfig
    itemsize: int
    tensor: int  # devices that share the inside of layers
    lanes: int

    def of_microbatch(self, shape: RowShape, *, remat: bool, trained: int, lora: bool = False) -> Work:
        """Forward, backward (twice that), and forward again where layers are recomputed; logits not again.

        trained: bytes on each device of what is trained.
        lora: weights have no gradients, so that backward is as much as forward, but for attention; adapters
          are left out.
        """
        one = self.of_forward(shape.rows, shape.row_length, logits=0)
        passes = 2 if lora else 3
        logits = passes * 2 * self._head * shape.rows * shape.row_length / self.tensor
        passes += remat
        attended = self._attended(shape.row_length / 2) * shape.rows * shape.row_length / self.tensor
        return Work(
            flops=passes * one.flops + logits + (attended if lora else 0.0),
            bytes=passes * one.bytes + 3 * trained,  # sums are read and written, what is trained is read
            tokens=one.tokens,
        )

    def of_forward(self, rows: int, length: int, *, logits: int) -> Work:
        """All layers over rows of tokens, each attending to half of its row, and logits after some."""
        tokens = rows * length
        flops = (2 * self._layers + self._attended(length / 2)) * tokens + 2 * self._head * logits
        weights = (self._layers + (self._head if logits else 0)) * self.itemsize
        return Work(flops=flops / self.tensor, bytes=weights / self.tensor, tokens=tokens * self.lanes)

    def of_step(self, slots: int, shape: StageShape, caches: int) -> Work:
        """One token in every slot: all weights and all `caches` (bytes) are read."""
        places = shape.prefix_length + shape.prompt_length + shape.new_length
        weights = self._layers + self._head
        return Work(
            flops=(2 * weights + self._attended(places)) * slots / self.tensor,
            bytes=weights * self.itemsize / self.tensor + caches,
            tokens=slots * self.lanes,
        )

    def of_fsdp(self, *, lora: bool = False) -> int:
        """Bytes that FSDP has to send for a microbatch: all weights thrice, in the type they compute in.

        They are gathered forward and backward, and their gradients are scattered. With LoRA they have none;
        what adapters send is left out.
        """
        return (2 if lora else 3) * parameters(self.config) * self.itemsize

    def _attended(self, places: float) -> float:
        """FLOPs of one token's attention to so many places, in all layers."""
        return 4 * self.config.num_heads * self.config.head_dim * self.config.num_layers * places

    @property
    def _layers(self) -> int:
        """Parameters of all layers' matrices."""
        config = self.config
        heads = config.head_dim * (2 * config.num_heads + 2 * config.num_kv_heads)
        return config.num_layers * config.hidden_size * (heads + 3 * config.intermediate_size)

    @property
    def _head(self) -> int:
        return self.config.vocab_size * self.config.hidden_size


def parameters(config: LlamaConfig) -> int:
    """Of the whole model."""
    return sum(math.prod(variable.shape) for _, variable in flat(abstract(config)[1]))
