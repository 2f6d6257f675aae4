"""What a run's domain gives the method: an environment that is running, prompts and tasks."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import envs
from envisions_jax.config import Config
from envisions_jax.demonstrations import gold_program
from envisions_jax.prompts import Prompts
from envisions_jax.stages.turns import Interaction
from envisions_jax.task_sets import GivenTasks
from envisions_jax.tokenizer import Tokenizer
from envisions_jax.train_tasks import TrainTasks, WebPages, WebTasks
from envs import Task
from envs.web.environment import WebEnvironment
from envs.web.pages import SEEDS_PER_ITERATION, pages_of


@dataclass(frozen=True)
class Domain:
    """An opened domain; its environment ends with the context that opened it."""

    environment: envs.Environment
    test_environment: envs.Environment  # the same one, which may keep more of what it saw
    interaction: Interaction
    prompts: Prompts
    train_tasks: TrainTasks
    test_sets: Mapping[str, Sequence[Task]]
    demonstrations: Sequence[tuple[Task, str]] = ()  # gold programs that a cold start learns from


@contextmanager
def open_domain(config: Config, given: GivenTasks, tokenizer: Tokenizer) -> Iterator[Domain]:
    """The domain of `config`, its worker processes started, its first tasks at hand.

    Raises envs.EnvironmentFailure if this host cannot run it.
    """
    if config.env.name == "web":
        with _open_browsers(config) as browsers:
            yield _web(config, browsers, tokenizer)
        return
    settings = config.env
    with envs.make(
        settings.name,
        workers=settings.workers,
        time_limit_s=settings.time_limit_s,
        memory_limit_mb=settings.memory_limit_mb,
        sandbox=settings.sandbox,
        **(dataclasses.asdict(config.logic) if settings.name == "logic" else {}),
    ) as environment:
        yield Domain(
            environment=environment,
            test_environment=environment,
            interaction=Interaction(),
            prompts=Prompts(config.prompt.style),
            train_tasks=given.train,
            test_sets=given.tests,
            demonstrations=[(task, gold_program(task, config.prompt.style)) for task in given.gold],
        )


def _open_browsers(config: Config) -> WebEnvironment:
    return WebEnvironment(
        workers=config.env.workers,
        time_limit_s=config.env.time_limit_s,
        success=config.web.success,
        observation=config.web.observation,
        chromium=config.web.chromium,
    )


def _web(config: Config, browsers: WebEnvironment, tokenizer: Tokenizer) -> Domain:
    web = WebPages(browsers, tokenizer, config.web.most_tokens)
    train, test = pages_of(config.tasks.train), pages_of(config.tasks.test)
    return Domain(
        environment=browsers,
        test_environment=browsers.with_screenshots() if config.web.screenshots else browsers,
        interaction=Interaction(config.web.turns, web.go_on),
        prompts=Prompts(config.prompt.style, web.demonstrations([*train, *test])),
        train_tasks=WebTasks(web, train, config.tasks.train_size or SEEDS_PER_ITERATION),
        test_sets=web.test_sets(test, config.tasks.test_size),
    )
