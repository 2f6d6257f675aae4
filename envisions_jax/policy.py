"""The policy π: a LLaMA with its tokenizer, that samples, searches and scores. The public API.

    policy = Policy.from_pretrained("smollm2-135m")
    [candidates] = policy.generate(["2 + 2 ="], k=5, temperature=0.7, max_new_tokens=8)
    [log_probs] = policy.score(["2 + 2 ="], [[" 4", " 5"]])

The loop uses nothing else of the model. A policy is immutable: training makes another, by `with_params`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from envisions_jax.arguments import check, check_count, is_number, is_whole
from envisions_jax.models import loading, saving, weights
from envisions_jax.models.attention import CausalAttention, causal_mask
from envisions_jax.models.config import LlamaConfig, ModelError
from envisions_jax.models.llama import Llama
from envisions_jax.parallel.layout import Layout, platform_of
from envisions_jax.parallel.mesh import lanes, own_mesh
from envisions_jax.policy_inputs import Inputs, Text, check_row_length, check_shape, digest
from envisions_jax.sampling.results import MOST_BEAMS
from envisions_jax.tokenizer import Tokenizer

if TYPE_CHECKING:
    from envisions_jax.sampling.results import Beam, Generation
    from envisions_jax.sampling.sampler import Sampler
    from envisions_jax.sampling.shapes import StageShape

DEFAULT_BEAM_SLOTS = 32
DTypeName = Literal["auto", "float32", "bfloat16"]


class Policy:
    """A model (`graphdef`, `params`), its `config`, and its `tokenizer` (None: use it with tokens only)."""

    def __init__(
        self,
        config: LlamaConfig,
        graphdef: nnx.GraphDef[Llama],
        params: nnx.State,
        tokenizer: Tokenizer | None,
        mesh: jax.sharding.Mesh | None = None,
    ) -> None:
        self.config = config
        self.graphdef = graphdef
        self.mesh = mesh
        # Put explicitly where they are: weights just read and weights restored or trained then run the very
        # same programs, where JAX would compile them once for each. (Shapes alone are to be compiled for.)
        self.params = jax.tree.map(
            lambda leaf: (
                leaf if isinstance(leaf, jax.ShapeDtypeStruct) else jax.device_put(leaf, leaf.sharding)
            ),
            params,
        )
        self.tokenizer = tokenizer

    @classmethod
    def from_pretrained(
        cls,
        path_or_id_or_alias: str | Path,
        dtype: DTypeName = "auto",
        *,
        param_dtype: Literal["float32", "bfloat16"] = "float32",
        mesh: jax.sharding.Mesh | None = None,
    ) -> Policy:
        """Loads a LLaMA.

        Args:
          path_or_id_or_alias: a Hugging Face folder or id, a ``.gguf`` file, or "smollm2-135m".
          dtype: what is computed in; "auto" is float32 on CPU (where bfloat16 is slower), else bfloat16.
          param_dtype: what weights are kept in; "bfloat16" is half as much, where it is also computed in.
          mesh: of devices to lie on, as `on_mesh`; no device ever holds more than its part.

        Raises:
          ValueError: an axis of the mesh does not divide what it is to divide.
          ModelError (a ValueError): not found, no network, incomplete, damaged, or not a LLaMA.
        """
        loaded = loading.load_pretrained(
            path_or_id_or_alias,
            dtype=_compute_dtype(dtype),
            param_dtype=_named_dtype("param_dtype", param_dtype),
            mesh=mesh,
        )
        return cls(loaded.config, loaded.graphdef, loaded.params, loaded.tokenizer, mesh)

    def save_pretrained(self, folder: str | Path) -> None:
        """Writes a Hugging Face folder that transformers loads too; reading it back gives the same bits.

        Raises:
          ModelError: the folder holds something that is no model, or cannot be written.
        """
        saving.save_pretrained(folder, self.config, self.params, self.tokenizer)

    def with_params(self, params: nnx.State) -> Policy:
        """The same model with other weights: compiled programs are shared, caches of activations are not.

        Raises:
          ModelError: `params` are of another shape than this model's.
        """
        if _shapes(params) != _shapes(self.params):
            raise ModelError("with_params: these weights are of another model (names or shapes differ)")
        return Policy(self.config, self.graphdef, params, self.tokenizer, self.mesh)

    def on_mesh(self, mesh: jax.sharding.Mesh) -> Policy:
        """The same policy on the devices of `mesh`: weights in parts, what is sampled divided over its lanes.

        Raises:
          ValueError: an axis of the mesh does not divide what it is to divide.
        """
        shardings = Layout(self.config, mesh).shardings(self.params)
        params = jax.device_put(self.params, shardings)
        return Policy(self.config, self.graphdef, params, self.tokenizer, mesh)

    @property
    def model(self) -> Llama:
        """The module itself, for use inside a jitted function or for looking at it."""
        return nnx.merge(self.graphdef, self.params)

    @functools.cached_property
    def dtype(self) -> jnp.dtype:
        """What the model computes in."""
        return jnp.dtype(self.model.dtype)

    @functools.cached_property
    def sampling_mesh(self) -> jax.sharding.Mesh | None:
        """Where it samples and scores: the devices of its mesh that are this process's."""
        return None if self.mesh is None else own_mesh(self.mesh)

    @functools.cached_property
    def layout(self) -> Layout | None:
        """How weights lie while they are sampled with: whole in every lane. None without a mesh."""
        mesh = self.sampling_mesh
        return None if mesh is None else Layout(self.config, mesh, divided=False)

    @functools.cached_property
    def sampled_with(self) -> nnx.State:
        """The weights as sampling and scoring use them: whole in every lane, in the type they compute in.

        All processes of a run have to ask for them together.
        """
        if self.samples_as_it_is:
            return self.params
        if self.mesh is None or self.layout is None:
            return whole_in_lanes(None, self.dtype, self.params)
        everywhere = Layout(self.config, self.mesh, divided=False)
        whole = whole_in_lanes(everywhere, self.dtype, self.params)
        return whole if self.mesh == self.sampling_mesh else self.layout.of_this_process(whole)

    @property
    def samples_as_it_is(self) -> bool:
        """Are the weights that it has those that it samples with? Else that takes a copy."""
        is_whole = self.mesh is None or (self.mesh.shape["fsdp"] == 1 and self.mesh == self.sampling_mesh)
        return is_whole and all(
            leaf.dtype == self.dtype for leaf in jax.tree.leaves(self.params) if leaf.ndim > 1
        )

    @property
    def platform(self) -> str:
        """Of its devices: "cpu", "gpu" or "tpu"."""
        return platform_of(self.layout)

    def forget(self) -> None:
        """Drop what was made of the weights to sample with; it is made again where it is needed."""
        for name in ("sampled_with", "_sampler"):
            self.__dict__.pop(name, None)

    @property
    def lanes(self) -> int:
        """Parts of this process's devices that sample by themselves."""
        return lanes(self.sampling_mesh)

    def rows(self, axes: int) -> jax.sharding.Sharding:
        """Where arrays of what is sampled are put: with the weights, divided over lanes (`Layout.rows`)."""
        return jax.tree.leaves(self.params)[0].sharding if self.layout is None else self.layout.rows(axes)

    @functools.cached_property
    def eos_ids(self) -> tuple[int, ...]:
        """Every token that ends a text: the tokenizer's EOS, and those the model's config names."""
        own = self.tokenizer.eos_id if self.tokenizer is not None else None
        ids = (*(() if own is None else (own,)), *self.config.eos_token_ids)
        return tuple(dict.fromkeys(ids))

    def logits(self, tokens: Int[Array, "b t"] | Int[np.ndarray, "b t"]) -> Float[Array, "b t v"]:
        """Logits after every token, in float32; for looking at, not for long inputs.

        Padding on the right is harmless: no token sees a later one.

        Raises:
          ValueError: `tokens` is no matrix of token ids, or longer than the model's context.
        """
        tokens = jnp.asarray(tokens)
        is_matrix = tokens.ndim == 2 and tokens.size > 0 and jnp.issubdtype(tokens.dtype, jnp.integer)
        shape = f"{tokens.dtype.name}{list(tokens.shape)}"
        check(is_matrix, "tokens", shape, "give whole numbers in rows: [texts, tokens]")
        self._inputs.tokens([int(tokens.min()), int(tokens.max())])
        self._inputs.check_length("tokens", tokens.shape[1])
        return _logits(self.graphdef, self.params, tokens)

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of a completion's tokens; empty where there is no tokenizer."""
        return "" if self.tokenizer is None else self.tokenizer.decode(tokens)

    def generate(
        self,
        prompts: Sequence[Text],
        *,
        k: int = 1,
        temperature: float = 1.0,
        top_p: float = 1.0,
        max_new_tokens: int = 128,
        stop: Sequence[str] = (),
        seed: int = 0,
        ids: Sequence[int | str] | None = None,
        slots: int | None = None,
        shape: StageShape | None = None,
        progress: Callable[[int], None] | None = None,
        finished: Callable[[int, int, Generation], None] | None = None,
    ) -> list[list[Generation]]:
        """Samples `k` candidates for each prompt.

        The same seed gives the same candidates, whatever else is in the call and in whatever order
        (on CPU in float32): the random stream of a candidate depends on (seed, its prompt's id, its number).

        Args:
          prompts: texts, or tokens (taken as they are: no BOS is added).
          temperature: 0 takes the most likely token. top_p: the nucleus, in (0, 1].
          max_new_tokens: also bounded by what the model's context leaves after the prompt.
          stop: texts that end a candidate; `text` is cut before them.
          ids: name the random stream of each prompt; by default its tokens do, so that equal prompts get
            equal candidates.
          slots: how many candidates are decoded side by side.
          shape: `plan_stage` of the stage that this call is a shard of; by default the call is all of it.
          progress: told how many more candidates are done.
          finished: told (prompt's number, candidate's number, candidate) as each ends, in any order.

        Returns:
          For each prompt its `k` candidates: text, tokens, per-token log-probs (temperature 1, full
          vocabulary), and why it ended ("eos" | "stop" | "length").

        Raises:
          ValueError: an argument that cannot be meant; it names the argument and its value.
        """
        from envisions_jax.sampling.sampler import Decoding

        check_count("k", k, "ask for at least one candidate for each prompt")
        for name, number in (("temperature", temperature), ("top_p", top_p)):
            check(is_number(number), name, number, "give a number")
        check(is_whole(seed), "seed", seed, "give a whole number")
        check(0 <= temperature < np.inf, "temperature", temperature, "give 0 (greedy) or more")
        check(0 < top_p <= 1, "top_p", top_p, "give a number in (0, 1]; 1 is the whole vocabulary")
        self._inputs.check_decoding(max_new_tokens, stop)
        if slots is not None:
            check_count("slots", slots, "decode at least one candidate at a time")
        tokens = self._inputs.prompts(prompts, room=1)
        max_new_tokens = self._inputs.within_context(max_new_tokens, tokens)
        if ids is not None:
            check(
                len(ids) == len(prompts),
                "ids",
                f"{len(ids)} of them",
                f"give one for each of {len(prompts)} prompts",
            )
            names = [f"id:{name}" for name in ids]
        else:
            names = [digest(prompt) for prompt in tokens]
        check_shape(shape, tokens)
        decoding = Decoding(k, temperature, top_p, max_new_tokens, tuple(stop), seed)
        return self._sampler.generate(
            tokens, names, decoding, shape=shape, slots=slots, progress=progress, finished=finished
        )

    def plan_stage(
        self, prompts: Sequence[Text], max_new_tokens: int, k: int = 1, kept: StageShape | None = None
    ) -> StageShape:
        """How a stage is computed that samples `k` candidates from each of `prompts`, in however many calls.

        Calls given it (`shape=`) compile nothing anew and compute the shared prefix once; a shard that
        is sampled again alone gives the same bits as before.

        Args:
          kept: what was planned for an earlier stage of the kind; taken again where these prompts fit into it
            and lose little by it, so that nothing is compiled but what a longer prefix needs.

        Raises:
          ValueError: an argument that cannot be meant; it names the argument and its value.
        """
        from envisions_jax.sampling.shapes import StageShape, plan

        check_count("k", k, "plan for at least one candidate for each prompt")
        check(len(prompts) > 0, "prompts", "none", "plan from some")
        check(kept is None or isinstance(kept, StageShape), "kept", repr(kept), "give what `plan_stage` gave")
        self._inputs.check_decoding(max_new_tokens, ())
        tokens = self._inputs.prompts(prompts, room=1)
        return plan(tokens, self._inputs.within_context(max_new_tokens, tokens), k, kept)

    def beam_search(
        self,
        prompts: Sequence[Text],
        *,
        beams: int = 2,
        max_new_tokens: int = 128,
        stop: Sequence[str] = (),
        slots: int | None = None,
        shape: StageShape | None = None,
        progress: Callable[[int], None] | None = None,
        finished: Callable[[int, list[Beam]], None] | None = None,
    ) -> list[list[Beam]]:
        """For each prompt its `beams` most likely sequences, best first (as transformers' ``num_beams``).

        Args:
          slots: how many beams are decoded side by side; the other arguments are those of `generate`.
          finished: told (prompt's number, its sequences) as soon as those of prompts searched together end.

        Raises:
          ValueError: an argument that cannot be meant; it names the argument and its value.
        """
        from envisions_jax.sampling.beam import beam_search

        check_count("beams", beams, "search with at least one beam")
        check(beams <= MOST_BEAMS, "beams", beams, f"at most {MOST_BEAMS}: each holds keys and values")
        if slots is not None:
            check_count("slots", slots, "decode at least one beam at a time")
        self._inputs.check_decoding(max_new_tokens, stop)
        tokens = self._inputs.prompts(prompts, room=1)
        check_shape(shape, tokens)
        return beam_search(
            self._sampler,
            tokens,
            beams=beams,
            max_new_tokens=self._inputs.within_context(max_new_tokens, tokens),
            stop=tuple(stop),
            slots=slots or min(DEFAULT_BEAM_SLOTS * self.lanes, beams * len(prompts)),
            shape=shape,
            progress=progress,
            finished=finished,
        )

    def score(
        self,
        prompts: Sequence[Text],
        completions: Sequence[Sequence[Text]],
        *,
        eos: bool = False,
        row_length: int = 0,
    ) -> list[list[np.ndarray]]:
        """log π of every token of every completion under its prompt (temperature 1, full vocabulary).

        Args:
          completions: for each prompt a list of texts or tokens. Tokens are scored as they are.
          eos: append end-of-sequence to those given as text.
          row_length: `plan_scoring` of the stage that this call is a shard of; by default it is all of it.

        Returns:
          For each prompt, for each completion, float32 ``[its tokens]``.

        Raises:
          ValueError: an argument that cannot be meant; it names the argument and its value.
        """
        from envisions_jax.sampling.scorer import Scorer

        check_row_length("row_length", row_length)
        tokens, continued = self._inputs.continued(prompts, completions, eos)
        return Scorer(self, self._sampler).score(tokens, continued, row_length)

    def plan_scoring(
        self,
        prompts: Sequence[Text],
        completions: Sequence[Sequence[Text]],
        max_new_tokens: int,
        kept: int = 0,
    ) -> int:
        """How long the rows are in which `score` computes completions like these, in however many calls.

        Args:
          completions: about as long as those that will be scored, which may have up to `max_new_tokens`.
          kept: as in `plan_stage`.

        Raises:
          ValueError: an argument that cannot be meant; it names the argument and its value.
        """
        from envisions_jax.sampling.scorer import plan_rows

        check_count("max_new_tokens", max_new_tokens, "plan for at least one token")
        check(len(prompts) > 0, "prompts", "none", "plan from some")
        check_row_length("kept", kept)
        return plan_rows(*self._inputs.continued(prompts, completions, eos=False), max_new_tokens, kept)

    @functools.cached_property
    def _inputs(self) -> Inputs:
        return Inputs(self.config, self.tokenizer, self.eos_ids)

    @functools.cached_property
    def _sampler(self) -> Sampler:
        from envisions_jax.sampling.sampler import Sampler

        return Sampler(self)


@functools.partial(jax.jit, static_argnums=(0, 1))
def whole_in_lanes(layout: Layout | None, dtype: jnp.dtype, params: nnx.State) -> nnx.State:
    """Matrices in `dtype`, the rest as it is, whole in every lane."""
    converted = jax.tree.map(lambda x: x if x.ndim == 1 else x.astype(dtype), params)
    if layout is None:
        return converted
    return jax.lax.with_sharding_constraint(converted, layout.shardings(params))


@functools.partial(jax.jit, static_argnums=0)
def _logits(
    graphdef: nnx.GraphDef[Llama], params: nnx.State, tokens: Int[Array, "b t"]
) -> Float[Array, "b t v"]:
    model = nnx.merge(graphdef, params)
    positions = jnp.broadcast_to(jnp.arange(tokens.shape[1]), tokens.shape)
    return model.logits(model(tokens, positions, CausalAttention(causal_mask(tokens.shape[1]))))


def _compute_dtype(name: str) -> jnp.dtype:
    if name == "auto":
        name = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    return _named_dtype("dtype", name)


def _named_dtype(key: str, name: str) -> jnp.dtype:
    choices = "'float32' or 'bfloat16'" + (", or 'auto'" if key == "dtype" else "")
    check(name in ("float32", "bfloat16"), key, repr(name), f"give {choices}")
    return jnp.dtype(name)


def _shapes(params: nnx.State) -> dict[weights.Path, tuple[int, ...]]:
    return {path: variable.shape for path, variable in weights.flat(params)}
