"""Seeded word problems: the embedded default data set, which needs no download and no licence.

Train and test questions share no template, no printed number and no name (`words`), but the same kinds of
reasoning: a better test score means better programs, not memory. Task i of a set depends on (seed, split,
level, mix, i) and on the questions before it, so a larger set starts with the smaller one.
"""

import hashlib
import random
import re
from collections.abc import Mapping
from functools import cache

from envisions_jax.tasks.errors import TaskError
from envisions_jax.tasks.held_out_stories import TEST_STORIES
from envisions_jax.tasks.stories import InexactError, Story, evaluate, operands
from envisions_jax.tasks.train_stories import TRAIN_STORIES
from envisions_jax.tasks.words import POOLS, SPLITS, Split, fits_split
from envs import Task

DEFAULT_STEPS: Mapping[int, float] = {1: 0.4, 2: 0.4, 3: 0.2}
STORIES: dict[Split, tuple[Story, ...]] = {"train": TRAIN_STORIES, "test": TEST_STORIES}

# Ranges of the operands by the first letter of their name (`stories`), inclusive.
LEVELS: dict[str, dict[str, tuple[int, int]]] = {
    "easy": {"n": (2, 60), "k": (2, 12), "q": (2, 20)},
    "hard": {"n": (20, 900), "k": (3, 40), "q": (5, 90)},
}
# At the hard level half of the questions open with a number that has nothing to do with the answer.
_DISTRACTION = 0.5
_DISTRACTIONS: dict[Split, tuple[str, ...]] = {
    "train": ("It is day {n9} of the year.", "{name9} is {n9} years old.", "The street has {n9} houses."),
    "test": ("The bus number is {n9}.", "{name9} lives {n9} miles away.", "The town has {n9} shops."),
}
_ATTEMPTS = 2_000
_PLACEHOLDER = re.compile(r"\{([a-z]+)(\d?)(\+?)\}")


def generate(
    split: str,
    size: int,
    seed: int = 0,
    mix: Mapping[int, float] | Mapping[str, float] | None = None,
    level: str = "easy",
) -> list[Task]:
    """`size` different word problems of `split` ("train" or "test") with integer answers.

    `mix` weighs the number of steps, e.g. {1: 0.4, 2: 0.4, 3: 0.2} (the default); keys may be text, as in
    config files. `meta` of a task holds its kind, steps, level, template and gold `solution` (an expression;
    no prompt shows it). Raises TaskError for an unknown split or level, impossible weights, or when there are
    fewer than `size` different questions.
    """
    stories = _stories_by_steps(_checked_split(split), mix)
    if level not in LEVELS:
        raise TaskError(f"generated: level is {level!r}, must be one of {', '.join(LEVELS)}")
    if size < 1:
        raise TaskError(f"generated: size is {size}, must be at least 1")
    tasks: list[Task] = []
    seen: set[str] = set()
    for index in range(size):
        rng = random.Random(f"{seed}/{split}/{level}/{index}")
        task = _new_task(rng, _checked_split(split), level, stories, seen)
        if task is None:
            raise TaskError(
                f"generated: found only {index} different questions of the {size} asked for "
                f"({split=}, {level=}, steps {sorted(stories)}); ask for fewer or allow more kinds of steps"
            )
        seen.add(task.question)
        tasks.append(task)
    return tasks


def _checked_split(split: str) -> Split:
    for known in SPLITS:
        if split == known:
            return known
    raise TaskError(f"generated: split is {split!r}, must be one of {', '.join(SPLITS)}")


def _stories_by_steps(
    split: Split, mix: Mapping[int, float] | Mapping[str, float] | None
) -> dict[int, tuple[float, list[Story]]]:
    """steps → (weight, the stories with that many steps); steps of weight 0 are left out."""
    weights = {}
    for key, weight in dict(DEFAULT_STEPS if mix is None else mix).items():
        if not str(key).isdecimal() or not isinstance(weight, int | float) or not 0 <= weight < float("inf"):
            raise TaskError(f"generated: mix has {key!r}: {weight!r}, must be number of steps: weight >= 0")
        weights[int(key)] = float(weight)
    chosen = {}
    for steps, weight in sorted(weights.items()):
        stories = [story for story in STORIES[split] if story.steps == steps]
        if not stories:
            raise TaskError(f"generated: mix asks for {steps} steps, there are stories of 1 to 4 steps")
        if weight > 0:
            chosen[steps] = (weight, stories)
    if not chosen:
        raise TaskError(f"generated: mix {mix!r} gives every number of steps the weight 0")
    return chosen


def _new_task(
    rng: random.Random,
    split: Split,
    level: str,
    stories: Mapping[int, tuple[float, list[Story]]],
    seen: set[str],
) -> Task | None:
    """A task whose question is not in `seen`; None if many draws gave none."""
    # Steps and story are drawn first and kept while they give anything new: redrawing them with the numbers
    # would favour stories whose numbers fit easily.
    steps = rng.choices(list(stories), [weight for weight, _ in stories.values()])[0]
    for story in rng.sample(stories[steps][1], len(stories[steps][1])):
        for _ in range(_ATTEMPTS):
            values = _draw_operands(rng, story, split, level)
            if values is None:
                continue
            text = _with_distraction(rng, story.text, split, level)
            question = _write(rng, text, values, split, level)
            if question not in seen:
                return _task(story, split, level, question, values)
    return None


def _draw_operands(rng: random.Random, story: Story, split: Split, level: str) -> dict[str, int] | None:
    """Numbers for every operand; None if they break the split's numbers or the arithmetic is not exact."""
    ranges = LEVELS[level]
    drawn, printed = _operands_of(story)
    values = {}
    for name in drawn:
        values[name] = (
            rng.choice(_numbers(split, ranges[name[0]])) if name in printed else rng.randint(*ranges[name[0]])
        )
    try:
        for name, expression in story.let.items():
            values[name] = evaluate(expression, values)
        answer = evaluate(story.answer, values)
    except InexactError:
        return None
    return values if answer >= 1 and all(fits_split(values[name], split) for name in story.let) else None


@cache
def _operands_of(story: Story) -> tuple[tuple[str, ...], frozenset[str]]:
    """The operands to draw, those that `let` does not give; and the operands the question prints."""
    printed = operands(story.answer)
    used = printed.union(*(operands(expression) for expression in story.let.values()))
    return tuple(sorted(used - story.let.keys())), frozenset(printed)


@cache
def _numbers(split: Split, limits: tuple[int, int]) -> tuple[int, ...]:
    """The numbers from `limits`, both inclusive, that questions of `split` may print."""
    low, high = limits
    return tuple(number for number in range(low, high + 1) if fits_split(number, split))


def _with_distraction(rng: random.Random, text: str, split: Split, level: str) -> str:
    if level == "hard" and rng.random() < _DISTRACTION:
        return f"{rng.choice(_DISTRACTIONS[split])} {text}"
    return text


def _write(rng: random.Random, text: str, values: Mapping[str, int], split: Split, level: str) -> str:
    """The question: every placeholder filled, different words for different digits of a pool."""
    words: dict[str, tuple[str, str]] = {}

    def fill(match: re.Match[str]) -> str:
        pool, digit, plural = match.groups()
        key = pool + digit
        if key in values:
            return str(values[key])
        if pool == "n":
            return str(rng.choice(_numbers(split, LEVELS[level]["n"])))
        if key not in words:
            words[key] = rng.choice([word for word in POOLS[split][pool] if word not in words.values()])
        return words[key][1 if plural else 0]

    return _PLACEHOLDER.sub(fill, text)


def _task(story: Story, split: Split, level: str, question: str, values: Mapping[str, int]) -> Task:
    # The id is made from the question, so that it names the same question in every set it occurs in.
    digest = hashlib.sha256(question.encode()).hexdigest()[:12]
    solution = re.sub(r"[a-z]\d", lambda match: str(values[match.group()]), story.answer)
    meta = {
        "kind": story.kind,
        "steps": story.steps,
        "level": level,
        "template": f"{split}/{STORIES[split].index(story)}",
        "solution": solution,
    }
    return Task(f"generated/{split}/{digest}", question, evaluate(story.answer, values), meta=meta)
