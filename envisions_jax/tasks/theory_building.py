"""Builds theories in numbers: a proof of the wanted depth first, then whatever else there is to read.

The numbers are those of `envs.logic.theory`: relation 2p is predicate p, 2p + 1 its negation, constants count
from 0, and `X` is the variable of a rule. A proof of depth d is d rules, each of which needs what the one
before it concludes, so that hardly anything has to be thrown away.
"""

import hashlib
import random
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from envisions_jax.tasks.words import SPLITS, Split
from envs.logic.forward import Budget, derive
from envs.logic.theory import Implication, Numbers, Theory, World
from envs.logic.worlds import well_founded

X = -1  # the variable of a rule
_NEGATED = 0.35  # share of negated literals in theories that have any
_SECOND_PREMISE = 0.4
_NAMED_RULE = 0.2  # share of rules about one constant
_MOST_STEPS = 20_000  # of one derivation; the largest theories take a few thousand
_ATTEMPTS = 20  # to find a literal that is new


@dataclass(frozen=True)
class Shape:
    """What a theory is built of: how much it has of everything."""

    sentences: int
    depth: int
    constants: int
    attributes: int  # predicates 0, 1, …
    verbs: int  # predicates after those
    negation: bool
    world: World


@dataclass(frozen=True)
class Sentences:
    """A theory's facts and rules, in the order in which they are told."""

    facts: tuple[Numbers, ...]
    rules: tuple[Implication, ...]

    def theory(self, query: Numbers, world: World) -> Theory:
        """As an engine gets it. In a closed world negated premises ask for absence."""
        if world == "open":
            return Theory(self.facts, self.rules, query)
        return Theory(self.facts, tuple(map(_closed, self.rules)), (query[0] & ~1, *query[1:]))

    def derived(self, world: World) -> Mapping[Numbers, int]:
        """Everything that follows, with its depth."""
        budget = Budget(_MOST_STEPS)
        theory = self.theory((0, 0), world)

        def engine(theory: Theory, assumed: Collection[Numbers]) -> Mapping[Numbers, int]:
            return derive(theory, budget, assumed)

        found = well_founded(theory, engine) if theory.has_absent else engine(theory, frozenset())
        assert isinstance(found, Mapping)
        return found

    @property
    def split(self) -> Split:
        """The split that theories of this structure belong to.

        The structure is how often there is a fact or rule of each form, whatever its names and wherever it
        stands: two theories of which one is the other with new names, or in another order, are never in
        different splits.
        """
        forms = sorted([_form(fact) for fact in self.facts] + [_rule_form(rule) for rule in self.rules])
        return SPLITS[hashlib.sha256(" ".join(forms).encode()).digest()[0] % len(SPLITS)]


def build(rng: random.Random, shape: Shape, split: Split) -> tuple[Sentences, Mapping[Numbers, int]] | None:
    """A theory of `split` and what follows from it, at `shape.depth` too; None if this try failed.

    In an open world nothing and its negation both follow.
    """
    sentences = _Builder(rng, shape).build()
    if sentences.split != split:
        return None
    derived = sentences.derived(shape.world)
    contradicts = any(opposite(literal) in derived for literal in derived)
    return None if contradicts or shape.depth not in derived.values() else (sentences, derived)


def opposite(literal: Numbers) -> Numbers:
    """The negation of a literal."""
    return (literal[0] ^ 1, *literal[1:])


class _Builder:
    """One try: facts and rules of a proof, then others."""

    def __init__(self, rng: random.Random, shape: Shape) -> None:
        self._rng, self._shape = rng, shape
        self._facts: dict[Numbers, None] = {}
        self._rules: dict[Implication, None] = {}
        self._known: dict[Numbers, None] = {}  # facts and what the proof concludes

    def build(self) -> Sentences:
        rng, shape = self._rng, self._shape
        least, most = max(1, shape.depth), max(1, shape.depth, shape.sentences // 2)
        rules = min(rng.randint(least, most), shape.sentences - 1)
        last = self._add_fact()
        while len(self._facts) < min(3, shape.sentences - rules):
            self._add_fact()
        for _ in range(shape.depth):
            last = self._prove_from(last)
        for _ in range(_ATTEMPTS):
            if len(self._rules) >= rules:
                break
            self._rules[self._any_rule()] = None
        for _ in range(_ATTEMPTS):
            if len(self._facts) + len(self._rules) >= shape.sentences:
                break
            self._add_fact()
        facts, found = list(self._facts), list(self._rules)
        rng.shuffle(facts)
        rng.shuffle(found)
        return Sentences(tuple(facts), tuple(found))

    def _add_fact(self) -> Numbers:
        fact = self._new_literal(self._constant())
        self._facts[fact] = None
        self._known[fact] = None
        return fact

    def _prove_from(self, last: Numbers) -> Numbers:
        """A rule that needs `last`, and what it concludes."""
        rng, subject = self._rng, last[1]
        premises = [last]
        others = [one for one in self._known if one[1] == subject and one not in (last, opposite(last))]
        if others and rng.random() < _SECOND_PREMISE:
            premises.insert(rng.randint(0, 1), rng.choice(others))
        conclusion = self._new_literal(rng.choice(last[1:]))
        self._known[conclusion] = None
        self._rules[self._general(premises, conclusion, subject)] = None
        return conclusion

    def _any_rule(self) -> Implication:
        subject = self._constant()
        premises = [self._literal(subject)]
        if self._rng.random() < _SECOND_PREMISE:
            second = self._literal(subject, may_ask_absence=True)
            if opposite(second) not in premises:
                premises = list(dict.fromkeys([*premises, second]))
        conclusion = self._new_literal(self._rng.choice(premises[0][1:]), premises)
        return self._general(premises, conclusion, subject)

    def _general(self, premises: list[Numbers], conclusion: Numbers, subject: int) -> Implication:
        """The rule about whatever is like `subject`, or now and then about `subject` alone."""
        if self._rng.random() >= _NAMED_RULE:
            premises = [(relation, X, *rest) for relation, _, *rest in premises]
            relation, *arguments = conclusion
            conclusion = (relation, *(X if argument == subject else argument for argument in arguments))
        return Implication(tuple(premises), (conclusion,))

    def _new_literal(self, subject: int, premises: Collection[Numbers] = ()) -> Numbers:
        """Neither it nor its negation is known or among `premises`, if that can be had."""
        literal = self._literal(subject)
        for _ in range(_ATTEMPTS):
            both = (literal, opposite(literal))
            if not any(one in self._known or one in premises for one in both):
                break
            literal = self._literal(subject)
        return literal

    def _literal(self, subject: int, *, may_ask_absence: bool = False) -> Numbers:
        """Something about `subject`. In a closed world only premises are negated, and the first is not."""
        rng, shape = self._rng, self._shape
        has_verb = shape.verbs > 0 and rng.random() < 0.5
        predicate = (
            shape.attributes + rng.randrange(shape.verbs) if has_verb else rng.randrange(shape.attributes)
        )
        may_negate = shape.negation and (shape.world == "open" or may_ask_absence)
        relation = 2 * predicate + (may_negate and rng.random() < _NEGATED)
        if not has_verb:
            return (relation, subject)
        others = [constant for constant in range(shape.constants) if constant != subject]
        return (relation, subject, rng.choice(others))

    def _constant(self) -> int:
        return self._rng.randrange(self._shape.constants)


def _closed(rule: Implication) -> Implication:
    premises = tuple(premise for premise in rule.premises if not premise[0] & 1)
    absent = tuple((premise[0] & ~1, *premise[1:]) for premise in rule.premises if premise[0] & 1)
    return Implication(premises, rule.conclusions, absent)


def _form(literal: Numbers) -> str:
    """A literal without its names: x+ (an attribute of the variable), cc- (not related constants), …"""
    return "".join("x" if term < 0 else "c" for term in literal[1:]) + "+-"[literal[0] & 1]


def _rule_form(rule: Implication) -> str:
    return ",".join(sorted(map(_form, rule.premises))) + ">" + _form(rule.conclusions[0])
