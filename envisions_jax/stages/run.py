"""What all stages of one run share, and the checks that need model and tasks at hand."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from envisions_jax import hosts
from envisions_jax.budget import Budget, budget, default_slots
from envisions_jax.clock import Clock
from envisions_jax.config import Config
from envisions_jax.config_rules import ConfigError
from envisions_jax.metrics import MetricsWriter
from envisions_jax.models.config import LlamaConfig
from envisions_jax.models.lora import largest_rank
from envisions_jax.policy import Policy
from envisions_jax.progress import Reporter
from envisions_jax.prompts import Prompts
from envisions_jax.sampling.shapes import StageShape
from envisions_jax.stages.turns import Interaction
from envisions_jax.store import Trajectory, TrajectoryStore
from envisions_jax.tokenizer import Tokenizer
from envisions_jax.train_tasks import TrainTasks
from envisions_jax.workdir import WorkDir
from envs import Environment, Task

ERROR_TOKENS = 64  # of what the environment said of a candidate, in refinement prompts that tell it
_ERROR_WORDS = 8  # tokens around it, at most


@dataclass(frozen=True)
class Run:
    """One run: its settings, what it works with and its memory. `base` is the policy with weights theta_0."""

    config: Config
    workdir: WorkDir
    base: Policy
    prompts: Prompts
    environment: Environment
    test_environment: Environment
    interaction: Interaction
    train_tasks: TrainTasks
    test_sets: Mapping[str, Sequence[Task]]
    demonstrations: Sequence[tuple[Task, str]]
    store: TrajectoryStore
    metrics: MetricsWriter
    clock: Clock
    reporter: Reporter

    @property
    def tokenizer(self) -> Tokenizer:
        """The model's tokenizer. Raises ConfigError if it has none."""
        return tokenizer_of(self.base)

    def shots(self, iteration: int) -> int:
        """Demonstrations in the task prompt: the base model needs them, a trained policy does not."""
        return first_shots(self.config) if iteration == 0 else 0

    def refinement_prompt(self, task: Task, candidate: Trajectory) -> str:
        """The refinement prompt [x, a]. The end of a candidate that leaves no room for another is cut off.

        A candidate of `sampler.max_new_tokens` tokens fits (`check_lengths`), but written out and read again
        it can be more tokens than it was sampled in.
        """
        room = self.config.model.context - self.config.sampler.max_new_tokens
        error = self._told(candidate)
        tokens = self.tokenizer.encode_completion(self.prompts.completion(candidate.text))
        prompt = self.prompts.refine(task, candidate.text, error)
        while tokens and (excess := len(self.tokenizer.encode(prompt)) - room) > 0:
            tokens = tokens[: max(0, len(tokens) - excess)]
            shorter = self.prompts.program(self.tokenizer.decode(tokens))
            prompt = self.prompts.refine(task, self.prompts.canonical(shorter), error)
        return prompt

    def _told(self, candidate: Trajectory) -> str:
        """What a refinement prompt says of what became of a candidate, at most `ERROR_TOKENS` tokens."""
        if not self.config.prompt.errors:
            return ""
        return self.tokenizer.decode(self.tokenizer.encode(candidate.error, bos=False)[:ERROR_TOKENS])


def first_shots(config: Config) -> int:
    """Demonstrations in the task prompt of iteration 0: none where its policy was trained on some."""
    return config.prompt.shots if config.loop.cold_start == "few_shot" else 0


def tokenizer_of(policy: Policy) -> Tokenizer:
    """The policy's tokenizer. Raises ConfigError if it has none: a run works on text."""
    if policy.tokenizer is None:
        raise ConfigError("model.path: has no tokenizer; a run works on text, add the tokenizer's files")
    return policy.tokenizer


def check_ending(policy: Policy) -> None:
    """Raise ConfigError if the model has no end-of-sequence token: what is learned ends in one."""
    if not policy.eos_ids:
        raise ConfigError("model.path: names no end-of-sequence token; set eos_token_id in its config.json")


def check_adapters(config: Config, model: LlamaConfig) -> None:
    """Raise ConfigError for LoRA adapters that are larger than what they are to replace."""
    rank, most = config.train.lora_rank, largest_rank(model)
    if rank > most:
        raise ConfigError(f"train.lora_rank={rank}: this model's smallest linear map allows 1 to {most}")


def slots_for(config: Config, policy: Policy, shape: StageShape, candidates: int) -> int:
    """Sequences decoded side by side in a stage of `shape` whose first shard has so many candidates.

    Set once a stage, for the last and shorter shard too, so that nothing is compiled for it alone.
    """
    return min(config.sampler.slots or default_slots(policy, shape), -(-candidates // 8) * 8)


def reckon(run: Run) -> Budget:
    """The run's memory, from the prompts of its first iteration."""
    policy, config = run.base, run.config
    shots = run.shots(0)
    prompts = [run.prompts.explore(task, shots=shots) for task in run.train_tasks.known(0)]
    shape = policy.plan_stage(prompts, config.sampler.max_new_tokens, config.sampler.k)
    own = hosts.part(range(min(len(prompts), config.sampler.shard_tasks)))  # tasks of this process
    slots = slots_for(config, policy, shape, config.sampler.k * max(1, len(own)))
    return budget(policy, shape, slots, config.train)


def fold(seed: int, *names: object) -> int:
    """A seed of its own for each use, from the run's seed and what it is used for. In [0, 2^32)."""
    text = "/".join(map(str, (seed, *names)))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4])


def check_lengths(
    config: Config,
    policy: Policy,
    prompts: Prompts,
    train: Sequence[Task],
    tests: Sequence[Task],
    test_shots: int,
) -> None:
    """Raise ConfigError if a prompt and what may follow it do not fit into the context.

    A refinement prompt holds a candidate of up to `sampler.max_new_tokens` tokens besides the new one, and
    perhaps what the environment said of it. A page may grow up to `web.most_tokens`: in later turns, and in
    training because each iteration has other pages than the first, of which `train` are the tasks.
    """
    context, limit = config.model.context, policy.config.max_position_embeddings
    if context > limit:
        raise ConfigError(f"model.context={context}: the model was made for {limit} tokens at most")
    tokenizer, new = tokenizer_of(policy), config.sampler.max_new_tokens

    def growth(task: Task, *, trained: bool) -> int:
        """Tokens by which a question of the same kind may be longer."""
        if config.env.name != "web" or not (trained or config.web.turns > 1):
            return 0
        return max(0, config.web.most_tokens - len(tokenizer.encode(task.question, bos=False)))

    for task in train:
        few_shot = len(tokenizer.encode(prompts.explore(task, shots=first_shots(config))))
        _check_fits(few_shot + growth(task, trained=True) + new, task, "sampler.max_new_tokens", new, context)
        if config.loop.refine:
            empty = len(tokenizer.encode(prompts.refine(task, prompts.program(""))))
            empty += (ERROR_TOKENS + _ERROR_WORDS) * config.prompt.errors
            _check_fits(
                empty + growth(task, trained=True) + 2 * new, task, "sampler.max_new_tokens", new, context
            )
    new = config.eval.max_new_tokens
    for task in tests:
        prompt = len(tokenizer.encode(prompts.explore(task, shots=test_shots)))
        _check_fits(prompt + growth(task, trained=False) + new, task, "eval.max_new_tokens", new, context)


def _check_fits(tokens: int, task: Task, key: str, value: int, context: int) -> None:
    if tokens > context:
        raise ConfigError(
            f"{key}={value}: task {task.id} needs {tokens} tokens with its prompt, model.context={context}"
        )
