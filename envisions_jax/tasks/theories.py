"""Seeded theories in ProofWriter's style: the embedded data set of the logic domain, with gold programs.

A task is a short text of facts and rules and a statement that is true, false or unknown by it (Tafjord et
al. 2021; RuleTaker, Clark et al. 2020, in a closed world). Training and test theories share no name
(`theory_words`) and no structure (`theory_building.Sentences.split`), so nothing of the test set can be
remembered. Task i of a set depends on (seed, split, settings, i) and on the texts before it, so a larger set
starts with the smaller one.

A statement's form says nothing of its label where theories have negation: true and false ones are as often
negated as not (54 to 46 of closed theories of few sentences, which often leave nothing undecided). Without
negation, in an open world, what follows is never negated, so that "not" alone tells
false from true; ProofWriter has that too, and a program that states the positive fact is right on both (64 %
of its 3,600 tasks). Choose the kinds with negation to see what is understood.
"""

import hashlib
import itertools
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

from envisions_jax.tasks.errors import TaskError
from envisions_jax.tasks.theory_building import Sentences, Shape, build, opposite
from envisions_jax.tasks.theory_text import Names, tell
from envisions_jax.tasks.theory_words import VOCABULARIES
from envisions_jax.tasks.words import SPLITS, Split
from envs import Task
from envs.logic.theory import WORLDS, Numbers, World

# ProofWriter's names: attributes alone, or relations too; without negation, or with it.
Kind = Literal["AttNoneg", "AttNeg", "RelNoneg", "RelNeg"]
KINDS: tuple[Kind, ...] = get_args(Kind)
LABELS: Mapping[World, tuple[str, ...]] = {"open": ("True", "False", "Unknown"), "closed": ("True", "False")}
QUESTIONS: Mapping[World, str] = {
    "open": "Is the following statement true, false, or unknown?",
    "closed": "Is the following statement true or false?",
}
_MOST_DEPTH, _MOST_SENTENCES = 5, 40
_ATTEMPTS = 500
_PEOPLE = 0.5  # share of theories with relations that speak of people; those without always do


@dataclass(frozen=True, kw_only=True)
class TheorySettings:
    """What is generated. Every label, depth and kind is as frequent as any other.

    sentences: fewest and most facts and rules together.
    depths: rules in a row that a proof needs; 0 is a fact that is stated. The proof is that of a true or
        false statement; where the answer is unknown something else in the theory has one.
    kinds: attributes alone or relations too, without or with negation; names as in ProofWriter.
    world: open (true, false, unknown), or closed (what does not follow is false).

    Raises ValueError for what cannot be generated.
    """

    sentences: tuple[int, ...] = (6, 16)
    depths: tuple[int, ...] = (0, 1, 2, 3, 4, 5)
    kinds: tuple[Kind, ...] = KINDS
    world: World = "open"

    def __post_init__(self) -> None:
        for name in ("sentences", "depths"):
            numbers = getattr(self, name)
            if not isinstance(numbers, tuple) or not all(type(number) is int for number in numbers):
                self._fail(name, "must be a tuple of whole numbers")
        if len(self.sentences) != 2 or not 2 <= self.sentences[0] <= self.sentences[1] <= _MOST_SENTENCES:
            self._fail("sentences", f"give the fewest and the most, from 2 to {_MOST_SENTENCES}")
        if not self.depths or len(set(self.depths)) < len(self.depths):
            self._fail("depths", "give some, each once")
        if not all(0 <= depth <= _MOST_DEPTH for depth in self.depths):
            self._fail("depths", f"must be from 0 to {_MOST_DEPTH}")
        if max(self.depths) >= self.sentences[1]:
            self._fail(
                "depths",
                f"a proof of depth d has d rules and a fact: more than {self.sentences[1]} sentences",
            )
        is_tuple = isinstance(self.kinds, tuple) and all(kind in KINDS for kind in self.kinds)
        if not is_tuple or not self.kinds or len(set(self.kinds)) < len(self.kinds):
            self._fail("kinds", f"give a tuple of some of {', '.join(KINDS)}, each once")
        if self.world not in WORLDS:
            self._fail("world", f"must be one of {', '.join(WORLDS)}")

    def _fail(self, name: str, why: str) -> None:
        raise ValueError(f"theories.{name}={getattr(self, name)!r}: {why}")


def generate_theories(
    split: str, size: int, seed: int = 0, settings: TheorySettings | None = None
) -> list[Task]:
    """`size` different theories of `split` ("train" or "test"), each with a statement to judge.

    `context` of a task is the theory, `question` asks for the statement, `answer` is its label; `meta` holds
    world, kind, depth, label and the gold `program` (Logic-LM's form, glosses included; no prompt shows it).

    Raises TaskError for an unknown split, a size below 1, or settings that allow too few theories.
    """
    if split not in SPLITS:
        raise TaskError(f"theories: split is {split!r}, must be one of {', '.join(SPLITS)}")
    if size < 1:
        raise TaskError(f"theories: size is {size}, must be at least 1")
    settings = settings or TheorySettings()
    known_split: Split = "train" if split == "train" else "test"
    name = f"theories/{seed}/{split}/{settings}"
    tasks: list[Task] = []
    seen: set[tuple[str, str]] = set()
    for index, (kind, depth, label) in enumerate(itertools.islice(_wanted(name, settings), size)):
        rng = random.Random(f"{name}/{index}")
        proves_negation = kind.endswith("Neg") and settings.world == "open" and rng.random() < 0.5
        for _ in range(_ATTEMPTS):
            task = _try(rng, known_split, settings, kind, depth, label, proves_negation)
            if task is not None and (task.context, task.question) not in seen:
                break
        else:
            raise TaskError(
                f"theories: found only {index} different ones of the {size} asked for ({split=}, {kind=}, "
                f"{depth=}, {label=}, {settings.sentences=}); "
                f"{'ask for fewer, or ' if index else ''}allow others"
            )
        seen.add((task.context, task.question))
        tasks.append(task)
    return tasks


def _wanted(name: str, settings: TheorySettings) -> Iterator[tuple[Kind, int, str]]:
    """Kind, depth and label of every task. Labels take turns; so do kinds with depths, each time shuffled."""
    pairs = list(itertools.product(settings.kinds, settings.depths))
    for turn in itertools.count():
        random.Random(f"{name}/turn {turn}").shuffle(pairs)
        for kind, depth in pairs:
            for label in LABELS[settings.world]:
                yield kind, depth, label


def _try(
    rng: random.Random,
    split: Split,
    settings: TheorySettings,
    kind: Kind,
    depth: int,
    label: str,
    proves_negation: bool,
) -> Task | None:
    sentences = rng.randint(max(settings.sentences[0], depth + 1), settings.sentences[1])
    shape = Shape(
        sentences=sentences,
        depth=depth,
        constants=rng.randint(2, min(4, 2 + sentences // 4)) + sentences // 20,
        attributes=max(depth + 2, min(12, 3 + sentences // 3)),  # a proof is often of one constant
        verbs=min(4, 1 + sentences // 6) if kind.startswith("Rel") else 0,
        negation=kind.endswith("Neg"),
        world=settings.world,
    )
    built = build(rng, shape, split)
    if built is None:
        return None
    theory, derived = built
    query = _query(rng, theory, derived, shape, label, proves_negation)
    if query is None:
        return None
    told = tell(theory, query, _names(rng, split, shape), rng)
    digest = hashlib.sha256(f"{told.context}\n{told.statement}".encode()).hexdigest()[:12]
    meta = {"world": settings.world, "kind": kind, "depth": depth, "label": label, "program": told.program}
    question = f"{QUESTIONS[settings.world]} {told.statement}"
    return Task(f"theories/{split}/{digest}", question, label, told.context, meta)


def _query(
    rng: random.Random,
    theory: Sentences,
    derived: Mapping[Numbers, int],
    shape: Shape,
    label: str,
    proves_negation: bool,
) -> Numbers | None:
    """A statement of this label, of the wanted depth if it or its negation follows; None if there is none.

    proves_negation: whether what follows is negated (open world).
    """
    proven = [literal for literal, depth in derived.items() if depth == shape.depth]
    if shape.world == "open":
        if label == "Unknown":
            return _undecided(rng, theory, derived)
        proven = [literal for literal in proven if literal[0] % 2 == proves_negation]
        if not proven:
            return None
        return rng.choice(proven) if label == "True" else opposite(rng.choice(proven))
    if rng.random() < 0.5:  # what follows is true, its negation false
        return rng.choice(proven) if label == "True" else opposite(rng.choice(proven))
    undecided = _undecided(rng, theory, derived)  # and what does not follow the other way round
    if undecided is None:
        return None
    return (undecided[0] | 1 if label == "True" else undecided[0] & ~1, *undecided[1:])


def _undecided(rng: random.Random, theory: Sentences, derived: Mapping[Numbers, int]) -> Numbers | None:
    """A literal of which neither it nor its negation follows, though the theory speaks of its predicate.

    What some rule could conclude of another constant comes first: a statement is then not unknown just
    because no rule is about it.
    """
    constants = sorted({term for fact in theory.facts for term in fact[1:]})
    concluded = [rule.conclusions[0] for rule in theory.rules]
    for literals in (concluded, [*theory.facts, *(one for rule in theory.rules for one in rule.premises)]):
        found: dict[Numbers, None] = {}
        for relation, *terms in literals:
            for places in itertools.permutations(constants, len(terms)):
                literal = (relation, *places)
                if literal not in derived and opposite(literal) not in derived:
                    found |= dict.fromkeys((literal, opposite(literal)))
        if found:
            return rng.choice(list(found))
    return None


def _names(rng: random.Random, split: Split, shape: Shape) -> Names:
    words = VOCABULARIES[split]
    are_people = shape.verbs == 0 or rng.random() < _PEOPLE
    return Names(
        constants=tuple(rng.sample(words.people if are_people else words.animals, shape.constants)),
        attributes=tuple(rng.sample(words.attributes, shape.attributes)),
        verbs=tuple(rng.sample(words.verbs, shape.verbs)),
        are_people=are_people,
    )


def options_of(options: Mapping[str, Any]) -> TheorySettings:
    """The settings that `tasks.load` was given. Raises TaskError for an unknown or impossible one."""
    unknown = options.keys() - {"settings"}
    if unknown:
        raise TaskError(f"theories: unknown option {sorted(unknown)[0]!r}; there is settings")
    settings = options.get("settings") or TheorySettings()
    if not isinstance(settings, TheorySettings):
        raise TaskError(f"theories: settings is {settings!r}, must be TheorySettings")
    return settings
