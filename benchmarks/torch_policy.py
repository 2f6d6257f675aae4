"""A policy made of PyTorch and transformers that the loop's stages can work with, as a user would write it.

It takes the place of `envisions_jax.Policy` in the stages of an iteration, so that both sides have the same
tasks, prompts, environment, store and selection, and differ in what computes: `generate` with
`num_return_sequences` in left-padded batches sorted by length, forward passes for scores, right-padded
batches for training with the fused AdamW. Its batch sizes are the fastest of a few on this machine.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import torch
import transformers

from benchmarks.training import CLIP, backward, collate
from envisions_jax import Policy
from envisions_jax.sampling.results import Generation
from envisions_jax.sampling.sampler import Sampler
from envisions_jax.sampling.stopping import StopTable, cut_at_stop
from envisions_jax.training import Example, TrainConfig
from envisions_jax.training.config import learning_rate

GENERATED_ROWS = (40, 80, 160, 320)
SCORED_ROWS = (8, 16, 32, 64)


class SameStop(transformers.StoppingCriteria):
    """Ends a row where our sampler would: the same automaton, one look-up a token."""

    def __init__(self, table: StopTable, rows: int) -> None:
        self.next_state = torch.from_numpy(table.next_state.astype(np.int64))
        self.stopped = table.stopped
        self.state = torch.zeros(rows, dtype=torch.long)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor, **_: Any) -> torch.Tensor:
        self.state = self.next_state[self.state, input_ids[:, -1]]
        return self.state >= self.stopped


class TorchPolicy(Policy):
    """`model`'s candidates and scores, with the tokenizer and stop rules of `ours`.

    It answers as `ours` does what the stages ask about shapes and slots, and nothing here depends on that.
    """

    def __init__(self, model: Any, ours: Policy, batches: dict[str, int]) -> None:
        """batches: rows a batch by kind of work; what is missing is tried out, and kept there."""
        super().__init__(ours.config, ours.graphdef, ours.params, ours.tokenizer, ours.mesh)
        self.peer, self.ours, self.batches = model.eval(), ours, batches
        assert ours.tokenizer is not None
        self.encoder = ours.tokenizer

    def generate(  # type: ignore[override]  # of texts alone, and of what the stages give
        self,
        prompts: Sequence[str],
        *,
        k: int = 1,
        temperature: float = 1.0,
        max_new_tokens: int,
        stop: Sequence[str],
        seed: int = 0,
        progress: Callable[[int], None],
        finished: Callable[[int, int, Generation], None] | None = None,
        **ignored: Any,
    ) -> list[list[Generation]]:
        """`k` candidates for each prompt, whatever `ids`, `slots` and `shape` say; `finished` is told each
        when its batch has ended.
        """
        torch.manual_seed(seed)
        table = Sampler(self.ours).stop_table(tuple(stop))
        tokens = [self.encoder.encode(prompt) for prompt in prompts]
        order = sorted(range(len(tokens)), key=lambda number: len(tokens[number]))
        found: dict[int, list[Generation]] = {}

        def batch(members: Sequence[int]) -> None:
            said = self._generate(
                [tokens[number] for number in members], k, temperature, max_new_tokens, table
            )
            for number, candidates in zip(members, said, strict=True):
                found[number] = [self._generation(*one, table, stop) for one in candidates]

        kind = "sample" if temperature else "greedy"
        for members in self._in_batches(kind, order, [max(1, rows // k) for rows in GENERATED_ROWS], batch):
            progress(k * len(members))
            if finished is not None:
                for prompt in members:
                    for place, one in enumerate(found[prompt]):
                        finished(prompt, place, one)
        return [found[number] for number in range(len(prompts))]

    def score(  # type: ignore[override]
        self, prompts: Sequence[str], completions: Sequence[Sequence[Sequence[int]]], **ignored: Any
    ) -> list[list[np.ndarray]]:
        """log π of every token of every completion: rows of prompt and completion, logits of the latter."""
        rows = [
            (number, place, self.encoder.encode(prompt), list(completion))
            for number, (prompt, group) in enumerate(zip(prompts, completions, strict=True))
            for place, completion in enumerate(group)
        ]
        order = sorted(range(len(rows)), key=lambda row: len(rows[row][2]) + len(rows[row][3]))
        found: list[list[np.ndarray]] = [[np.zeros(0, np.float32)] * len(group) for group in completions]

        def batch(members: Sequence[int]) -> None:
            chosen = [rows[row] for row in members]
            log_probs = self._score([(prompt, completion) for _, _, prompt, completion in chosen])
            for (number, place, _, _), scored in zip(chosen, log_probs, strict=True):
                found[number][place] = scored

        for _ in self._in_batches("score", order, SCORED_ROWS, batch):
            pass
        return found

    def _in_batches(
        self, kind: str, order: Sequence[int], sizes: Sequence[int], run: Callable[[Sequence[int]], None]
    ) -> Iterator[Sequence[int]]:
        """Runs `run` on all of `order`, in batches of the best size; finds that first, if it is not known."""
        if kind not in self.batches:
            speed = {}
            for size in sizes:
                members = order[len(order) // 2 :][:size]  # of the usual length
                start = time.perf_counter()
                run(members)
                speed[size] = len(members) / (time.perf_counter() - start)
            self.batches[kind] = max(speed, key=lambda size: speed[size])
        size = self.batches[kind]
        for start in range(0, len(order), size):
            members = order[start : start + size]
            run(members)
            yield members

    def _generate(
        self,
        prompts: Sequence[Sequence[int]],
        k: int,
        temperature: float,
        max_new_tokens: int,
        table: StopTable,
    ) -> list[list[tuple[list[int], np.ndarray]]]:
        """Tokens and log-probs (at temperature 1) of `k` candidates for each prompt."""
        room = max(map(len, prompts))
        with torch.inference_mode():
            output = generate_rows(
                self.peer,
                self.ours,
                prompts,
                table,
                k=k,
                temperature=temperature,
                max_new_tokens=max_new_tokens,
                return_dict_in_generate=True,
                output_logits=True,
            )
            new = output.sequences[:, room:]
            steps = [
                logits.float().log_softmax(-1).gather(-1, new[:, step, None])[:, 0]
                for step, logits in enumerate(output.logits)
            ]
        log_probs = torch.stack(steps, dim=1).numpy()
        lengths = [candidate_length(row, table) for row in new.numpy()]
        flat = [
            (row[:length].tolist(), own[:length])
            for row, own, length in zip(new, log_probs, lengths, strict=True)
        ]
        return [flat[start : start + k] for start in range(0, len(flat), k)]

    def _generation(
        self, tokens: list[int], log_probs: np.ndarray, table: StopTable, stop: Sequence[str]
    ) -> Generation:
        state = 0
        for token in tokens:
            state = int(table.next_state[state, token])
        reason = table.reason(state)
        text = self.ours.decode(tokens[:-1] if reason == "eos" else tokens)
        return Generation(cut_at_stop(text, tuple(stop)), tokens, log_probs, reason)

    def _score(self, rows: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[np.ndarray]:
        """Right-padded, so that a row's positions are its own; logits from the earliest completion on."""
        examples = [Example(prompt, completion) for prompt, completion in rows]
        tokens, mask, _ = collate(examples, self.encoder.pad_id)
        first = min(len(prompt) for prompt, _ in rows) - 1
        with torch.inference_mode():
            output = self.peer(
                tokens, attention_mask=mask, use_cache=False, logits_to_keep=tokens.shape[1] - first
            )
            log_probs = output.logits[:, :-1].float().log_softmax(-1)
            taken = log_probs.gather(-1, tokens[:, first + 1 :, None])[..., 0].numpy()
        return [
            taken[row, len(prompt) - 1 - first :][: len(completion)]
            for row, (prompt, completion) in enumerate(rows)
        ]


def generate_rows(
    model: Any,
    ours: Policy,
    prompts: Sequence[Sequence[int]],
    table: StopTable,
    *,
    k: int,
    temperature: float,
    max_new_tokens: int,
    **more: Any,
) -> Any:
    """What `model.generate` returns for `k` candidates of each prompt, all in one left-padded batch."""
    assert ours.tokenizer is not None
    room, pad = max(map(len, prompts)), ours.tokenizer.pad_id
    tokens = torch.full((len(prompts), room), pad)
    mask = torch.zeros_like(tokens)
    for row, prompt in enumerate(prompts):
        tokens[row, room - len(prompt) :] = torch.tensor(prompt)
        mask[row, room - len(prompt) :] = 1
    how = {"do_sample": True, "temperature": temperature, "top_k": 0, "top_p": 1.0}
    return model.generate(
        input_ids=tokens,
        attention_mask=mask,
        **(how if temperature else {"do_sample": False}),
        num_return_sequences=k,
        max_new_tokens=max_new_tokens,
        pad_token_id=pad,
        eos_token_id=list(ours.eos_ids),
        stopping_criteria=transformers.StoppingCriteriaList([SameStop(table, len(prompts) * k)]),
        **more,
    )


def candidate_length(row: np.ndarray, table: StopTable) -> int:
    """Tokens up to the one that ended the row, as our `Generation.tokens` has them; the rest is padding."""
    state = 0
    for place, token in enumerate(row):
        state = table.next_state[state, token]
        if state >= table.stopped:
            return place + 1
    return len(row)


def train(
    base: Any, examples: Sequence[Example], config: TrainConfig, pad_id: int, seed: int, rows: int
) -> Any:
    """A copy of `base` trained as the loop trains: AdamW, warm-up and linear decay, clipped, shuffled epochs.

    `rows` examples go through it at a time. Its loss is the mean over the tokens of a batch, ours over its
    examples of their token means.
    """
    model = copy.deepcopy(base).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=config.learning_rate, weight_decay=config.weight_decay, fused=True
    )
    size = config.batch_size
    steps, done = -(-len(examples) // size) * config.epochs, 0
    rng = np.random.default_rng(seed)
    for _ in range(config.epochs):
        order = rng.permutation(len(examples))
        for start in range(0, len(order), size):
            for group in optimizer.param_groups:
                group["lr"] = learning_rate(config, done, steps)
            optimizer.zero_grad(set_to_none=True)
            backward(model, [examples[number] for number in order[start : start + size]], rows, pad_id)
            torch.nn.utils.clip_grad_norm_(model.parameters(), CLIP)
            optimizer.step()
            done += 1
    return model
