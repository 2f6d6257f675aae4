"""Configs: typed, frozen, and refused in one line where they could not work."""

import dataclasses
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from envisions_jax.config import (
    UNESSENTIAL,
    Config,
    check_key,
    default_config,
    flatten,
    from_config_dict,
    with_values,
)
from envisions_jax.config_reference import REFERENCE
from envisions_jax.config_rules import ConfigError

CONFIGS = sorted(
    path for path in (Path(__file__).parents[1] / "configs").glob("*.py") if path.stem != "__init__"
)
SIZED = {"tasks": {"train_size": 4, "test_size": 4}}


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"config_{path.stem}", path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
@pytest.mark.parametrize("variant", ["", "tiny"])
def test_every_config_file_and_variant_is_valid(path: Path, variant: str) -> None:
    config = from_config_dict(load(path).get_config(variant))
    assert config.name == (f"{path.stem}-{variant}" if variant else path.stem)


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_config_file_says_command_expectation_and_cost(path: Path) -> None:
    document = load(path).__doc__ or ""
    for heading in ("COMMAND:", "EXPECT:", "COST:", f"configs/{path.name}", "`:tiny`"):
        assert heading in document


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_an_unknown_variant_is_refused(path: Path) -> None:
    with pytest.raises(ConfigError, match="variant='tinny'"):
        load(path).get_config("tinny")


def test_math_has_the_papers_settings() -> None:
    (path,) = [path for path in CONFIGS if path.stem == "math"]
    config = from_config_dict(load(path).get_config())
    assert (config.loop.iterations, config.sampler.k, config.prompt.shots) == (10, 5, 3)
    assert (config.sampler.temperature, config.sampler.top_p) == (1.0, 1.0)
    assert (config.selection.n1, config.selection.n2) == (10, 2)
    train = config.train
    assert (train.learning_rate, train.batch_size, train.epochs, train.max_length) == (2e-5, 128, 1, 2048)
    assert (train.clip_norm, train.warmup_ratio, train.weight_decay) == (1.0, 0.03, 0.0)
    assert config.eval.beams == 2
    assert config.tasks.train == ("gsm8k", "math") and len(config.tasks.test) == 5


def test_logic_has_the_papers_settings() -> None:
    (path,) = [path for path in CONFIGS if path.stem == "logic"]
    config = from_config_dict(load(path).get_config())
    assert (config.loop.iterations, config.sampler.k, config.prompt.shots) == (8, 5, 1)
    assert (config.sampler.temperature, config.sampler.top_p) == (1.0, 1.0)
    assert (config.selection.n1, config.selection.n2) == (10, 2)
    train = config.train
    assert (train.learning_rate, train.batch_size, train.epochs, train.max_length) == (2e-5, 128, 2, 2048)
    assert (config.model.context, config.eval.beams, config.logic.engine) == (4096, 1, "pyke")
    assert (config.tasks.train, config.tasks.test) == (("proofwriter",), ("proofwriter", "ruletaker"))
    assert (config.tasks.train_size, config.tasks.test_size) == (3600, 600)
    assert config.loop.cold_start == "few_shot"


@pytest.mark.parametrize("name", ["logic", "web"])
def test_the_cpu_variants_are_valid(name: str) -> None:
    (path,) = [path for path in CONFIGS if path.stem == name]
    assert from_config_dict(load(path).get_config("cpu")).name == f"{name}-cpu"


BAD = [
    ("sampler.k", 0, "at least 1"),
    ("sampler.kk", 3, "did you mean sampler.k"),
    ("sampler.k", True, "expected int, got bool"),
    ("sampler.k", 1.5, "expected int, got float"),
    ("sampler.k", "5", "expected int, got str"),
    ("sampler.temperature", 0.0, "positive"),
    ("sampler.temperature", float("nan"), "positive"),
    ("sampler.temperature", float("inf"), "positive"),
    ("sampler.top_p", 0.0, "(0, 1]"),
    ("sampler.top_p", 1.1, "(0, 1]"),
    ("sampler.max_new_tokens", 2048, "leaves no room for a prompt in model.context=2048"),
    ("selection.n1", 0, "at least 1"),
    ("selection.filter", "env", "choose one of 'environment', 'none'"),
    ("loop.iterations", 0, "at least 1"),
    ("loop.refine", False, "selection.l2=False"),
    ("train.batch_size", 0, "at least 1"),
    ("train.max_length", 4096, "exceeds model.context=2048"),
    ("train.warmup_ratio", 1.0, "[0, 1)"),
    ("train.learning_rate", -1e-4, "positive"),
    ("tasks.train", (), "at least one"),
    ("tasks.train", ("gsm8k", "gsm8k"), "twice"),
    ("tasks.train", "gsm8k", "expected a tuple"),
    ("tasks.train_size", 0, "how many"),
    ("tasks.steps", (0.0, 0.0), "not all zero"),
    ("tasks.steps", (0.2,) * 5, "1 to 4 shares"),
    ("prompt.style", "prose", "choose one of"),
    ("seed", -1, "must not be negative"),
    ("seed", 2**31, "below 2^31"),
    ("tasks.train", ("gsm9k",), "did you mean gsm8k"),
    ("tasks.test", ("poems:all",), "choose from generated"),
    ("prompt.shots", 4, "there are 3 demonstrations"),
    ("train.weight_decay", float("inf"), "finite"),
    ("train.weight_decay", float("nan"), "finite"),
    ("train.clip_norm", float("inf"), "positive"),
    ("env.memory_limit_mb", 15, "from 16 to 1048576"),
    ("env.memory_limit_mb", 2**20 + 1, "from 16 to 1048576"),
    ("env.time_limit_s", 0.0, "positive"),
    ("env.time_limit_s", 3601.0, "at most 3600"),
    ("eval.beams", 257, "at most 256"),
    ("env.time_limit_s", float("nan"), "finite"),
    ("env.sandbox", "some", "choose one of 'full', 'best', 'none'"),
    ("sampler", 3, "is a section"),
    ("workers", 3, "unknown key; did you mean env.workers"),
    ("prompt.style", "web", "does not go with env.name='python'"),
    ("prompt.style", "logic", "does not go with env.name='python'; choose expression or function or pal"),
    (
        "tasks.train",
        ("theories",),
        "'theories' is a set of logic, env.name='python' judges math: generated, gsm8k",
    ),
    ("theories.depths", (6,), "must be from 0 to 5"),
    ("theories.sentences", (3, 2), "the fewest and the most"),
    ("theories.kinds", (), "give a tuple of some of AttNoneg"),
    ("theories.world", "flat", "choose one of 'open', 'closed'"),
    ("logic.engine", "prolog", "choose one of 'pyke', 'forward'"),
    ("web.turns", 3, "no effect with env.name='python'"),
    ("logic.engine", "forward", "no effect with env.name='python'"),
    ("theories.world", "closed", "no effect with env.name='python'"),
    ("loop.cold_start", "zero_shot", "choose one of 'few_shot', 'demonstrations'"),
    ("loop.cold_start_examples", 0, "at least 1"),
    ("loop.cold_start_epochs", 0, "at least 1"),
]
WEB = {
    "env.name": "web",
    "prompt.style": "web",
    "prompt.shots": 1,
    "tasks.train": ("click-test",),
    "tasks.test": ("paper",),
}
BAD_ON_THE_WEB = [
    ("tasks.train", ("click-tset",), "did you mean click-test"),
    ("tasks.train", ("paper", "click-test"), "'paper' stands for 44 pages, and stands alone"),
    ("tasks.test", ("click-test", "click-test"), "names a page twice"),
    ("env.sandbox", "best", "has no effect with env.name='web'"),
    ("tasks.fresh", True, "has no effect with env.name='web'"),
    ("tasks.test", (), "at least one page"),
    ("tasks.train_size", 51, "there are 50 seeds of a page"),
    ("tasks.test_size", 31, "there are 30 seeds of a page"),
    ("tasks.path", "data", "pages, not files"),
    ("prompt.shots", 2, "one demonstration of each page"),
    ("prompt.style", "pal", "does not go with env.name='web'"),
    ("web.most_tokens", 10, "at least 50"),
    ("web.turns", 0, "from 1 to 20"),
    ("web.turns", 21, "from 1 to 20"),
    ("loop.cold_start", "demonstrations", "no programs of pages can be generated"),
    ("theories.depths", (1,), "no effect with env.name='web'"),
    ("logic.vacuous", "by_answer", "no effect with env.name='web'"),
]
LOGIC = {
    "env.name": "logic",
    "prompt.style": "logic",
    "prompt.shots": 1,
    "tasks.train": ("theories",),
    "tasks.test": ("theories", "ruletaker"),
    "tasks.train_size": 4,
    "tasks.test_size": 4,
}
BAD_IN_LOGIC = [
    (
        "tasks.train",
        ("gsm8k",),
        "'gsm8k' is a set of math, env.name='logic' judges logic: theories, proofwriter",
    ),
    ("tasks.test", ("theories", "generated:test"), "'generated' is a set of math"),
    ("tasks.test_size", 0, "how many to make"),
    ("prompt.shots", 2, "there is 1 demonstration"),
    ("prompt.style", "pal", "does not go with env.name='logic'; choose logic or logic_short"),
    ("web.turns", 2, "no effect with env.name='logic'"),
]


@pytest.mark.parametrize(("key", "value", "why"), BAD, ids=[f"{key}={value}" for key, value, _ in BAD])
def test_what_cannot_work_is_refused_in_one_line_with_key_and_value(
    key: str, value: object, why: str
) -> None:
    plain = dataclasses.asdict(with_values(Config(), {"tasks.train_size": 4, "tasks.test_size": 4}))
    section, _, name = key.rpartition(".")
    (plain[section] if section else plain)[name] = value
    with pytest.raises(ConfigError) as caught:
        from_config_dict(plain)
    message = str(caught.value)
    assert key in message and repr(value).strip("()") in message and why in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("domain", "key", "value", "why"),
    [*((WEB, *bad) for bad in BAD_ON_THE_WEB), *((LOGIC, *bad) for bad in BAD_IN_LOGIC)],
)
def test_on_the_web_and_in_logic_too(domain: dict[str, object], key: str, value: object, why: str) -> None:
    good = with_values(Config(), domain)
    assert from_config_dict(dataclasses.asdict(good)) == good
    with pytest.raises(ConfigError) as caught:
        from_config_dict(dataclasses.asdict(with_values(good, {key: value})))
    assert str(caught.value).startswith(f"{key}=") and why in str(caught.value)


def test_lora_is_settled_only_where_it_is_used() -> None:
    config = with_values(Config(), LOGIC | {"train.lora_alpha": 8.0})
    with pytest.raises(ConfigError, match=r"train.lora_alpha=8.0: has no effect without train.lora_rank"):
        from_config_dict(dataclasses.asdict(config))
    used = with_values(config, {"train.lora_rank": 4})
    assert from_config_dict(dataclasses.asdict(used)) == used


def test_theories_are_settled_only_where_there_are_any() -> None:
    real = {"tasks.train": ("proofwriter:train[:9]",), "tasks.test": ("ruletaker",), "theories.depths": (1,)}
    config = with_values(Config(), LOGIC | real)
    with pytest.raises(ConfigError, match=r"theories.depths=\(1,\): has no effect without theories"):
        from_config_dict(dataclasses.asdict(config))
    started = with_values(config, {"loop.cold_start": "demonstrations"})
    assert from_config_dict(dataclasses.asdict(started)) == started


def test_defaults_from_ml_collections_come_back_typed() -> None:
    config_dict = default_config()
    config_dict.update(SIZED)
    config_dict.sampler.temperature = 1  # ml_collections keeps it a float
    config = from_config_dict(config_dict)
    assert config == with_values(Config(), {"tasks.train_size": 4, "tasks.test_size": 4})
    assert isinstance(config.tasks.train, tuple) and isinstance(config.sampler.temperature, float)
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.seed = 3  # type: ignore[misc]


def test_an_integer_may_stand_for_a_float_and_a_list_for_a_tuple() -> None:
    plain = {**SIZED, "env": {"time_limit_s": 3}, "tasks": {**SIZED["tasks"], "steps": [1, 0]}}
    config = from_config_dict(plain)
    assert config.env.time_limit_s == 3.0 and isinstance(config.env.time_limit_s, float)
    assert config.tasks.steps == (1.0, 0.0)


def test_names_separated_by_commas_are_several() -> None:
    config = from_config_dict({"tasks": {"train": ("gsm8k,math",), "test": ("svamp",)}})
    assert config.tasks.train == ("gsm8k", "math")


def test_reference_sets_every_option_of_the_released_code() -> None:
    config = flatten(from_config_dict({**SIZED, "compat": "reference"}))
    assert {key: config[key] for key in REFERENCE} == REFERENCE
    assert config["selection.merge"] == "reference" and config["selection.hold_back"] is True
    assert config["loop.self_reward"] == "generation_prompt"
    assert config["sampler.k"] == Config().sampler.k


def test_reference_on_the_web_is_what_the_released_code_does_there() -> None:
    config = flatten(
        from_config_dict(dataclasses.asdict(with_values(Config(), {**WEB, "compat": "reference"})))
    )
    assert (config["selection.n1"], config["selection.quote_question_iterations"]) == (2, 0)
    assert (config["web.success"], config["web.observation"]) == ("above_0.8", "html")


def test_reference_in_logic_is_what_the_released_code_does_there() -> None:
    config = flatten(
        from_config_dict(dataclasses.asdict(with_values(Config(), {**LOGIC, "compat": "reference"})))
    )
    assert (config["logic.relations"], config["logic.vacuous"]) == ("unknown", "by_answer")
    assert (config["selection.n1"], config["selection.quote_question_iterations"]) == (10, 0)


def test_reference_and_another_wish_for_one_of_its_keys_contradict() -> None:
    plain = {**SIZED, "compat": "reference"}
    with pytest.raises(ConfigError, match=r"selection.dedup='none'.*sets it to 'global'"):
        from_config_dict({**plain, "selection": {"dedup": "none"}})
    same = from_config_dict({**plain, "selection": {"dedup": "global", "n1": 4}})
    assert (same.selection.dedup, same.selection.n1) == ("global", 4)


def test_every_unessential_and_reference_key_exists() -> None:
    for key in UNESSENTIAL | REFERENCE.keys():
        check_key(key, None)
