"""Real prompts of exact lengths: generated word problems behind solved examples, as the loop asks them."""

from __future__ import annotations

import random
import re

import numpy as np

from benchmarks.measure import BenchmarkError
from envisions_jax.demonstrations import Demonstration
from envisions_jax.prompts import Prompts
from envisions_jax.sampling.trees import common_prefix
from envisions_jax.tasks.generated import generate
from envisions_jax.tasks.theories import TheorySettings, generate_theories
from envisions_jax.tokenizer import Tokenizer
from envisions_jax.train_tasks import WebPages
from envisions_jax.training import Example
from envs import EnvironmentFailure, Task
from envs.web.environment import WebEnvironment

DRAWS = 3_000  # of demonstrations; about every twentieth draw has the wanted length


def few_shot_prompts(
    tokenizer: Tokenizer, style: str, count: int, shared: int, own: int
) -> tuple[list[list[int]], tuple[str, ...]]:
    """`count` prompts of up to `shared` + `own` tokens whose first `shared` tokens are the same.

    Returns (tokens of each, the style's stop strings). The demonstrations are solved training problems,
    drawn until they fill the shared part to the token; the questions are hard test problems, the longest
    that leave their part within `own`.

    Raises:
      BenchmarkError: no such prompts were found.
    """
    demonstrations = [_demonstration(task) for task in generate("train", 200, level="hard")]
    questions = generate("test", 300, level="hard")
    rng = random.Random(0)
    for _ in range(DRAWS):
        shown = rng.sample(demonstrations, rng.randint(1, 6))
        prompts = Prompts(style, shown)
        probe = [tokenizer.encode(prompts.explore(task, len(shown))) for task in questions[:8]]
        if len(common_prefix(probe)) == shared:
            break
    else:
        raise BenchmarkError(f"no demonstrations of exactly {shared} tokens in style {style!r}")
    asked = [tokenizer.encode(prompts.explore(task, len(shown))) for task in questions]
    # Of each beginning the longest that fits: no two prompts share more than they should.
    longest: dict[int, list[int]] = {}
    for tokens in sorted(asked, key=len):
        if len(tokens) <= shared + own:
            longest[tokens[shared]] = tokens
    fitting = sorted(longest.values(), key=len)[-count:]
    if len(fitting) < count:
        raise BenchmarkError(f"no {count} questions of up to {own} tokens in style {style!r}")
    rng.shuffle(fitting)
    return fitting, prompts.stop


def refinement_prompts(tokenizer: Tokenizer, tasks: int, k: int) -> tuple[list[list[int]], tuple[str, ...]]:
    """A refinement prompt for each of `k` attempts at each of `tasks` hard problems, and the stop strings.

    The attempts are the solution with another number in it: what a model of iteration 1 writes.
    """
    prompts = Prompts("expression")
    asked = []
    for task in generate("test", tasks, level="hard"):
        solution = str(task.meta["solution"])
        last = re.findall(r"\d+", solution)[-1]
        for number in range(k):
            attempt = f"result = {solution.replace(last, str(int(last) + number))}"
            asked.append(tokenizer.encode(prompts.refine(task, attempt)))
    return asked, prompts.stop


def theory_prompts(tokenizer: Tokenizer, count: int, most: int) -> tuple[list[list[int]], tuple[str, ...]]:
    """`count` theories of up to `most` tokens behind the domain's demonstration, the longest that fit.

    Raises BenchmarkError if there are not so many.
    """
    prompts = Prompts("logic")
    theories = generate_theories("test", 12 * count, settings=TheorySettings(sentences=(24, 40)))
    asked = [tokenizer.encode(prompts.explore(task, shots=1)) for task in theories]
    return _longest(asked, count, most, "theories"), prompts.stop


def page_prompts(
    tokenizer: Tokenizer, count: int, most: int, page: str = "social-media-all"
) -> tuple[list[list[int]], tuple[str, ...]]:
    """`count` instances of one large page of MiniWoB++ behind its demonstration, up to `most` tokens each.

    Raises BenchmarkError if this host has no browser, or no such pages.
    """
    try:
        with WebEnvironment(workers=1) as browser:
            demonstrations = WebPages(browser, tokenizer, most).demonstrations([page])
            tasks = list(browser.tasks([(page, seed) for seed in range(6 * count)]))
    except EnvironmentFailure as error:
        raise BenchmarkError(str(error)) from error
    prompts = Prompts("web", demonstrations)
    asked = [tokenizer.encode(prompts.explore(task, shots=1)) for task in tasks]
    return _longest(asked, count, most, f"pages of {page}"), prompts.stop


def _longest(asked: list[list[int]], count: int, most: int, what: str) -> list[list[int]]:
    """The `count` longest of up to `most` tokens, in their order."""
    fitting = sorted((tokens for tokens in asked if len(tokens) <= most), key=len)[-count:]
    if len(fitting) < count:
        raise BenchmarkError(f"no {count} {what} of up to {most} tokens")
    return [tokens for tokens in asked if tokens in fitting]


def distinct_prompts(tokenizer: Tokenizer, count: int, length: int) -> list[list[int]]:
    """`count` stretches of real text of exactly `length` tokens each, with different beginnings."""
    stream = _text_stream(tokenizer, count * length, seed=1)
    return [stream[start : start + length] for start in range(0, count * length, length)]


def completions(tokenizer: Tokenizer, prompts: int, k: int, length: int) -> list[list[list[int]]]:
    """`k` different completions of exactly `length` tokens of real text for each of `prompts` prompts."""
    flat = distinct_prompts(tokenizer, prompts * k, length)
    return [flat[start : start + k] for start in range(0, prompts * k, k)]


def pool(tokenizer: Tokenizer, eos_id: int, tasks: int) -> list[Example]:
    """L1 and L2 examples as the loop trains on, half each, in random order: about 60 + 10 tokens."""
    prompts = Prompts("expression")
    examples = []
    for task in generate("train", tasks):
        program = f"result = {task.meta['solution']}"
        completion = (*tokenizer.encode_completion(prompts.completion(program)), eos_id)
        wrong = f"result = {task.answer}"
        examples.append(Example(tokenizer.encode(prompts.explore(task)), completion, "L1", task.id))
        examples.append(Example(tokenizer.encode(prompts.refine(task, wrong)), completion, "L2", task.id))
    order = np.random.default_rng(0).permutation(len(examples))
    return [examples[index] for index in order]


def _text_stream(tokenizer: Tokenizer, length: int, seed: int) -> list[int]:
    tasks = generate("train", 20 + length // 40, seed=seed, level="hard")
    stream = tokenizer.encode(" ".join(task.question for task in tasks))
    if len(stream) < length:
        raise BenchmarkError(f"wanted {length} tokens of text, the generated problems have {len(stream)}")
    return stream[:length]


def _demonstration(task: Task) -> Demonstration:
    solution = task.meta["solution"]
    function = f'def solution():\n    """{task.question}"""\n    result = {solution}\n    return result'
    return Demonstration(task.question, int(task.answer), {"expression": solution, "pal": function})
