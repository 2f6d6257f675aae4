"""The typed, frozen configuration of a run, and where it comes from.

An experiment is a `configs/*.py` file whose `get_config(variant)` starts from `default_config()` and sets
what it needs; `--config.sampler.k=10` overrides single keys (ml_collections). `from_config_dict` turns the
result into the frozen dataclasses below and refuses what could not work (`config_rules`). It runs before JAX,
weights or data are touched, so this module imports none of them.

Section numbers are those of the method in arXiv 2406.11736; "reference" means the authors' released code.
"""

import dataclasses
import difflib
import typing
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from ml_collections import ConfigDict

from envisions_jax.config_reference import reference
from envisions_jax.config_rules import ConfigError, refuse_unused, validate
from envisions_jax.mesh_config import MeshConfig
from envisions_jax.selection.rules import SelectionConfig
from envisions_jax.tasks.theories import TheorySettings


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Which base model theta_0 is."""

    path: str = "smollm2-135m"  # alias, Hugging Face folder or id, GGUF file
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # float32 on CPU, bfloat16 compute elsewhere
    # What weights are kept in. "bfloat16" halves theta_0 and the policy where it is also computed in; what
    # training changes is float32.
    param_dtype: Literal["float32", "bfloat16"] = "float32"
    context: int = 2048  # longest prompt + completion in tokens, at most what the model was made for


@dataclass(frozen=True, kw_only=True)
class TasksConfig:
    """Which problems are trained and tested on."""

    # Data sets by name, with a split if need be: "asdiv:all[:700]". Web: pages by name, "paper" for its 44.
    train: tuple[str, ...] = ("generated",)
    test: tuple[str, ...] = ("generated",)
    path: str = ""  # local JSON Lines file, or folder of them (see envisions_jax.tasks); "" uses the hub
    # At most so many; 0: all there are (the generator needs a number). Web: of each page, 50 new ones an
    # iteration and 30 to test on at most, which is also what 0 means.
    train_size: int = 0
    test_size: int = 0
    # Generated sets: `train_size` new problems in every iteration, as on the web, and not the same ones. A
    # small model that is trained on the same problems again and again knows them by heart.
    fresh: bool = False
    seed: int = 0  # of the generator and of sub-sampling; not the seed of the run
    difficulty: Literal["easy", "hard"] = "easy"  # generator only
    steps: tuple[float, ...] = (0.4, 0.4, 0.2)  # share of problems with 1, 2, 3, (4) steps (generator only)


@dataclass(frozen=True, kw_only=True)
class PromptConfig:
    """One wording for sampling, training and test."""

    # "expression", "function": short programs for small models; "pal": whole functions; "web": actions;
    # "logic": Logic-LM's programs, "logic_short": the same without what only readers need
    style: Literal["expression", "function", "pal", "web", "logic", "logic_short"] = "expression"
    shots: int = 3  # demonstrations at iteration 0, and in the base model's few-shot row
    # Refinement prompts also say what the environment said of the candidate (an error, a selector that found
    # nothing). The paper's do not, and it can give the verdict away.
    errors: bool = False


@dataclass(frozen=True, kw_only=True)
class EnvConfig:
    """The environment that executes candidates."""

    name: Literal["python", "web", "logic"] = "python"
    workers: int = 2
    time_limit_s: float = 2.0  # wall clock, of a program or an episode
    memory_limit_mb: int = 512  # of a program in the sandbox: not the web's
    # "full" refuses a host that cannot confine programs, "best" takes what there is, "none" trusts them
    sandbox: Literal["full", "best", "none"] = "full"


@dataclass(frozen=True, kw_only=True)
class WebConfig:
    """How pages are shown and judged (env.name="web" only; see `envs.web.environment`)."""

    observation: Literal["dom", "html"] = "dom"  # the clean form, or the markup as the authors used it
    most_tokens: int = 1024  # of what a page shows; the lines beyond are left out
    turns: int = 1  # looks at the page in one episode: 1 is the paper's open loop, more a closed one
    success: Literal["one", "above_0.8"] = "one"  # raw reward that counts as solved; the latter: reference
    chromium: str = ""  # the executable to drive; "" finds one
    screenshots: bool = True  # of every test task before and after, in screenshots/ of the work directory


@dataclass(frozen=True, kw_only=True)
class LogicConfig:
    """How logic programs are run and judged (env.name="logic" only; see `envs.logic.environment`)."""

    engine: Literal["pyke", "forward"] = "pyke"  # the paper's, or our own: as right, and much faster
    # A program that says nothing its query could depend on: never right, or judged by its answer (reference)
    vacuous: Literal["own_kind", "by_answer"] = "own_kind"
    relations: Literal["answered", "unknown"] = "answered"  # queries of two and more; the latter: reference


@dataclass(frozen=True, kw_only=True)
class SamplerConfig:
    """How candidates are drawn (steps 1 and 3)."""

    k: int = 5  # candidates a task
    temperature: float = 1.0
    top_p: float = 1.0
    max_new_tokens: int = 64
    slots: int = 0  # sequences decoded side by side; 0 lets the sampler choose
    shard_tasks: int = 32  # tasks sampled, executed and committed together: what a crash can cost


@dataclass(frozen=True, kw_only=True)
class TrainConfig:
    """Step 8: supervised fine-tuning on L1 + L2 (`envisions_jax.training.TrainConfig`, which imports JAX)."""

    learning_rate: float = 2e-5
    warmup_ratio: float = 0.03
    weight_decay: float = 0.0
    clip_norm: float = 1.0
    batch_size: int = 128  # examples an optimiser step
    epochs: int = 1
    max_length: int = 2048  # tokens of prompt + completion; longer examples are cut on the right
    # Tokens of a packed row; 0: what the examples fill best, 288 to 480 on CPU, up to 512 elsewhere
    # (give more rows there). A shape, no result depends on it beyond rounding
    row_length: int = 0
    rows: int = 4  # packed rows a microbatch
    remat: bool = False  # recompute activations in the backward pass: slower, far less memory
    lora_rank: int = 0  # 0 trains all weights; else LoRA adapters of this rank in all layers, merged after it
    lora_alpha: float = 32.0  # adapters are multiplied by lora_alpha / lora_rank
    continual: bool = False  # True: from theta_i instead of theta_0


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """Step 9: deterministic decoding on the test sets."""

    beams: int = 1  # 1: greedy
    max_new_tokens: int = 64
    shard_tasks: int = 64
    base: bool = True  # also evaluate theta_0, zero-shot and few-shot, before iteration 0


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    """The iterations themselves."""

    iterations: int = 3  # T
    refine: bool = True  # step 3; False drops refinements, and L2 has to go with them
    self_reward: Literal["task_prompt", "generation_prompt"] = "task_prompt"  # the latter: reference
    # The policy of iteration 0: theta_0 shown `prompt.shots` demonstrations (the paper's), or, where that is
    # not enough, theta_0 trained for a moment on gold programs (`envisions_jax.stages.cold_start`)
    cold_start: Literal["few_shot", "demonstrations"] = "few_shot"
    cold_start_examples: int = 64  # gold programs, of generated tasks that are neither trained nor tested on
    cold_start_epochs: int = 4
    cold_start_keep: bool = True  # in the training set of every iteration, beside what was explored


@dataclass(frozen=True, kw_only=True)
class CheckpointConfig:
    """What is kept on disk."""

    keep: int = 2  # iteration policies, and checkpoints inside a training run
    every_steps: int = 50  # optimiser steps between checkpoints inside a training run; 0: none
    export: bool = True  # write the last policy as a Hugging Face folder, <workdir>/final


@dataclass(frozen=True, kw_only=True)
class Config:
    """A whole run. Equal configs give equal results (CPU, float32), whatever `UNESSENTIAL` keys hold."""

    name: str = "run"
    seed: int = 0
    compat: Literal["paper", "reference"] = (
        "paper"  # "reference" sets every option in which the released code differs from the paper
    )
    progress: bool = True
    tensorboard: bool = True
    model: ModelConfig = field(default_factory=ModelConfig)
    tasks: TasksConfig = field(default_factory=TasksConfig)
    prompt: PromptConfig = field(default_factory=PromptConfig)
    env: EnvConfig = field(default_factory=EnvConfig)
    web: WebConfig = field(default_factory=WebConfig)
    logic: LogicConfig = field(default_factory=LogicConfig)
    theories: TheorySettings = field(default_factory=TheorySettings)
    sampler: SamplerConfig = field(default_factory=SamplerConfig)
    selection: SelectionConfig = field(default_factory=SelectionConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    eval: EvalConfig = field(default_factory=EvalConfig)
    loop: LoopConfig = field(default_factory=LoopConfig)
    checkpoint: CheckpointConfig = field(default_factory=CheckpointConfig)
    mesh: MeshConfig = field(default_factory=MeshConfig)  # of devices; on one device there is none


# Keys that may change between two starts of one work directory, because no result depends on them. (Another
# mesh rounds differently, as other devices do; a run must be able to go on elsewhere.)
UNESSENTIAL = frozenset(
    {"name", "progress", "tensorboard", "env.workers", "checkpoint.keep", "checkpoint.every_steps"}
    | {"web.chromium", "web.screenshots"}
    | {"checkpoint.export", "mesh.data", "mesh.fsdp", "mesh.tensor"}
)


def default_config() -> ConfigDict:
    """A fresh, mutable ConfigDict of all keys at their defaults, for `configs/*.py` to start from."""
    return ConfigDict(dataclasses.asdict(Config()))


def from_config_dict(config_dict: ConfigDict | Mapping[str, Any]) -> Config:
    """The validated `Config`. Raises `ConfigError` for an unknown key, a wrong type or what cannot work."""
    plain = config_dict.to_dict() if isinstance(config_dict, ConfigDict) else dict(config_dict)
    config = _typed(Config, plain, "")
    refuse_unused(flatten(config), flatten(Config()))
    if config.compat == "reference":
        preset = reference(config.env.name)
        _check_reference(flatten(config), preset)
        config = with_values(config, preset)
    validate(flatten(config))
    return config


def _check_reference(flat: Mapping[str, Any], preset: Mapping[str, Any]) -> None:
    """Raise `ConfigError` for a key that says neither its default nor what the preset would make of it."""
    default = flatten(Config())
    for key, value in preset.items():
        if flat[key] not in (default[key], value):
            raise ConfigError(
                f"{key}={flat[key]!r}: compat='reference' sets it to {value!r}; leave one of the two out"
            )


def check_key(key: str, value: Any) -> None:
    """Raise `ConfigError` if there is no such dotted key or section; `value` is for the message only."""
    known = flatten(Config())
    if key not in known and key not in {name.partition(".")[0] for name in known}:
        near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
        hint = f"; did you mean {near[0]}?" if near else ""
        raise ConfigError(f"{key}={value!r}: unknown key{hint}")


def flatten(config: Config) -> dict[str, Any]:
    """`{"sampler.k": 5, ...}`: every key by its dotted name."""
    flat: dict[str, Any] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        if dataclasses.is_dataclass(value):
            flat |= {f"{item.name}.{sub.name}": getattr(value, sub.name) for sub in fields(value)}
        else:
            flat[item.name] = value
    return flat


def with_values(config: Config, values: Mapping[str, Any]) -> Config:
    """`config` with some dotted keys replaced; not validated."""
    for key, value in values.items():
        section, _, name = key.rpartition(".")
        if section:
            value, name = dataclasses.replace(getattr(config, section), **{name: value}), section
        config = dataclasses.replace(config, **{name: value})
    return config


def _typed(cls: type, plain: Mapping[str, Any], prefix: str) -> Any:
    """An instance of dataclass `cls` from a mapping of the same form."""
    hints = typing.get_type_hints(cls)
    for key, value in plain.items():
        check_key(f"{prefix}{key}", value)
    values = {key: _value(hints[key], value, prefix + key) for key, value in plain.items()}
    try:
        return cls(**values)
    except ValueError as error:  # some sections check themselves
        raise ConfigError(str(error)) from error


def _value(hint: Any, value: Any, key: str) -> Any:
    """`value` as `hint` says it should be; an int may stand for a float, a list for a tuple."""
    if dataclasses.is_dataclass(hint):
        if not isinstance(value, Mapping):
            raise ConfigError(f"{key}={value!r}: is a section, set a key of it as --config.{key}.<name>")
        return _typed(typing.cast(type, hint), value, key + ".")
    if typing.get_origin(hint) is tuple:
        if not isinstance(value, tuple | list):
            raise ConfigError(f"{key}={value!r}: expected a tuple, got {type(value).__name__}")
        item = typing.get_args(hint)[0]
        if item is str:  # --config.tasks.test=gsm8k,svamp arrives as one string
            value = [part for v in value for part in (v.split(",") if isinstance(v, str) else [v])]
        return tuple(_value(item, v, f"{key}[{i}]") for i, v in enumerate(value))
    if typing.get_origin(hint) is Literal:
        choices = typing.get_args(hint)
        if value not in choices:
            raise ConfigError(f"{key}={value!r}: choose one of {', '.join(map(repr, choices))}")
        return value
    if hint is float and type(value) is int:
        return float(value)
    if type(value) is not hint:
        raise ConfigError(f"{key}={value!r}: expected {hint.__name__}, got {type(value).__name__}")
    return value
