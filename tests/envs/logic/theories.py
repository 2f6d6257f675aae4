"""Random theories for tests: every arity, both worlds, negation, contradictions, depth 0 to 5 and more.

A chain of rules of a known length leads from a stated fact to an atom that is often asked for; random facts
and rules around it break into it, contradict it, or have nothing to do with it.
"""

import random
from dataclasses import dataclass
from itertools import pairwise

from envs.logic.language import Atom, Declaration, Program, Rule
from envs.logic.theory import World

_ARITIES = (0, 1, 1, 1, 1, 1, 2, 2, 2, 3, 4)


@dataclass(frozen=True)
class Case:
    """A program and the world it is to be read in."""

    program: Program
    world: World


def random_cases(count: int, seed: int) -> list[Case]:
    random_ = random.Random(seed)
    return [random_case(random_) for _ in range(count)]


def random_case(random_: random.Random) -> Case:
    writer = _Writer(random_)
    chain_facts, rules, goal = writer.chain(random_.randrange(6))
    facts = [*chain_facts, *(writer.ground() for _ in range(random_.randrange(6)))]
    rules += [writer.rule() for _ in range(random_.randrange(6))]
    if random_.random() < 0.1:
        facts.append(Atom(goal.predicate, goal.arguments, not goal.value))
    chance = random_.random()
    if chance < 0.06:  # a program of which nothing but the query is left, or next to nothing
        facts = facts[: random_.randrange(2)]
        rules = rules[: random_.randrange(2)]
    query = goal if chance < 0.6 else writer.ground()
    if chance > 0.95:
        query = Atom("Elsewhere", tuple(f"z{place}" for place in range(random_.randrange(1, 3))), True)
    if random_.random() < 0.3:
        query = Atom(query.predicate, query.arguments, not query.value)
    random_.shuffle(facts)
    random_.shuffle(rules)
    declared = tuple(Declaration(name, arity) for name, arity in writer.predicates)
    world: World = random_.choice(("open", "closed"))
    return Case(Program(declared, tuple(facts), tuple(rules), query), world)


class _Writer:
    def __init__(self, random_: random.Random) -> None:
        self._random = random_
        self.predicates = [(f"P{n}", random_.choice(_ARITIES)) for n in range(random_.randrange(2, 7))]
        self._constants = [f"c{n}" for n in range(random_.randrange(1, 5))]
        self._negation = random_.choice((0.0, 0.2, 0.4))

    def ground(self) -> Atom:
        return self._atom(self._constants)

    def rule(self) -> Rule:
        """Joins, repeated variables, constants; now and then two conclusions."""
        terms = [
            *("$x", "$y", "$z")[: self._random.randrange(1, 4)],
            *self._random.sample(self._constants, 1),
        ]
        premises = [self._atom(terms) for _ in range(self._random.randrange(1, 4))]
        bound = [name for atom in premises for name in atom.variables]
        known = [*bound, *bound, *terms[-1:]]
        conclusions = [self._atom(known) for _ in range(1 + (self._random.random() < 0.15))]
        return Rule(tuple(premises), tuple(conclusions))

    def chain(self, length: int) -> tuple[list[Atom], list[Rule], Atom]:
        """Facts, rules, and what follows from them in `length` steps: each is of the next predicate."""
        constant = self._random.choice(self._constants)
        names = [f"Step{n}" for n in range(length + 1)]
        arity = self._random.choice((1, 1, 2))
        self.predicates += [(name, arity) for name in names]
        arguments = tuple([constant, self._random.choice(self._constants)][:arity])
        variables = ("$x", "$y")[:arity]
        atoms = [Atom(name, variables, self._random.random() >= self._negation) for name in names]
        facts = [Atom(atoms[0].predicate, arguments, atoms[0].value)]
        rules = []
        for before, after in pairwise(atoms):
            premises = [before]
            if self._random.random() < 0.3:
                more = self.ground()
                facts.append(more)
                premises.append(more)
            rules.append(Rule(tuple(premises), (after,)))
        return facts, rules, Atom(atoms[-1].predicate, arguments, atoms[-1].value)

    def _atom(self, terms: list[str]) -> Atom:
        name, arity = self._random.choice(self.predicates)
        arguments = tuple(self._random.choice(terms) for _ in range(arity))
        return Atom(name, arguments, self._random.random() >= self._negation)
