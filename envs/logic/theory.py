"""A program in numbers, so that no byte of a model's text reaches an engine.

Predicates (name and arity), truth values, constants and variables become integers. A literal is a tuple
(relation, term, …): relation 2p is predicate p, relation 2p + 1 its negation; a term from 0 on is a constant,
one below 0 a variable of its rule.

    Facts: Big(Bob, False)   Rules: Big($x, False) >>> Fat($x, False)   Query: Fat(Bob, True)
    facts ((1, 0),)          premises ((1, -1),), conclusions ((3, -1),)   query (2, 0)
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

from envs.logic.language import Atom, Program, Rule

World = Literal["open", "closed"]
WORLDS: tuple[World, ...] = get_args(World)
Numbers = tuple[int, ...]
# More than any translation of a text needs; n constants allow n⁸ facts of eight arguments.
MOST_DERIVED = 5_000


class OutOfBudget(Exception):
    """More follows from the program, or takes longer to find, than an engine may spend on it."""

    @classmethod
    def too_many_facts(cls) -> Self:
        return cls(f"more than {MOST_DERIVED} facts follow from the program")


@dataclass(frozen=True, slots=True)
class Implication:
    """Where all `premises` hold, and no literal of `absent` does, all `conclusions` hold."""

    premises: tuple[Numbers, ...]
    conclusions: tuple[Numbers, ...]
    absent: tuple[Numbers, ...] = ()


@dataclass(frozen=True, slots=True)
class Theory:
    """What an engine gets: ground facts, rules, and the ground literal that is asked for."""

    facts: tuple[Numbers, ...]
    rules: tuple[Implication, ...]
    query: Numbers

    @property
    def opposite(self) -> Numbers:
        """The negation of what is asked for."""
        return (self.query[0] ^ 1, *self.query[1:])

    @property
    def has_absent(self) -> bool:
        return any(rule.absent for rule in self.rules)

    def to_json(self) -> dict[str, Any]:
        """Lists of integers alone."""
        rules = [[rule.premises, rule.conclusions, rule.absent] for rule in self.rules]
        return {"facts": self.facts, "rules": rules, "query": self.query}

    @classmethod
    def from_json(cls, numbers: dict[str, Any]) -> Self:
        rules = (Implication(*(tuple(map(tuple, side)) for side in rule)) for rule in numbers["rules"])
        return cls(tuple(map(tuple, numbers["facts"])), tuple(rules), tuple(numbers["query"]))


def number(program: Program, world: World) -> Theory:
    """The theory of `program` as `world` reads it.

    Open: a negated atom is a literal like any other, which is stated or derived or neither. Closed: a negated
    premise asks for absence (negation as failure), and what states or concludes a negation says nothing that
    absence does not say, so it is left out. A variable that only absent literals have ranges over all
    constants of the program; the query is positive.
    """
    numbers = _Numbers()
    if world == "open":
        facts = [numbers.literal(atom, {}) for atom in program.facts]
        rules = [_open_rule(rule, numbers) for rule in program.rules]
        return Theory(tuple(facts), tuple(rules), numbers.literal(program.query, {}))
    facts = [numbers.literal(atom, {}) for atom in program.facts if atom.value]
    rules = [_closed_rule(rule, numbers) for rule in program.rules if any(c.value for c in rule.conclusions)]
    relation, *arguments = numbers.literal(program.query, {})
    if numbers.domain is not None:
        for atom in program.atoms:  # the constants of what is left out are there too
            numbers.literal(atom, {})
        facts += [(numbers.domain, constant) for constant in range(len(numbers.constants))]
    return Theory(tuple(facts), tuple(rules), (relation & ~1, *arguments))


class _Numbers:
    """Gives out numbers in the order in which names are met."""

    def __init__(self) -> None:
        self.constants: dict[str, int] = {}
        self._predicates: dict[tuple[str, int], int] = {}
        self.domain: int | None = None  # the relation of all constants, if a rule needs it

    def literal(self, atom: Atom, variables: dict[str, int]) -> Numbers:
        """`variables`: those of its rule so far; gets the new ones."""
        arguments = atom.arguments
        predicate = self._predicates.setdefault((atom.predicate, len(arguments)), len(self._predicates))
        numbers = [2 * predicate + (not atom.value)]
        for term in arguments:
            known, new = (
                (variables, -1 - len(variables)) if term[0] == "$" else (self.constants, len(self.constants))
            )
            numbers.append(known.setdefault(term, new))
        return tuple(numbers)

    def literals(self, atoms: Iterable[Atom], variables: dict[str, int]) -> tuple[Numbers, ...]:
        return tuple([self.literal(atom, variables) for atom in atoms])

    def everything(self) -> int:
        """The relation of all constants; no predicate of the program has its name."""
        if self.domain is None:
            self.domain = 2 * self._predicates.setdefault(("", 1), len(self._predicates))
        return self.domain


def _open_rule(rule: Rule, numbers: _Numbers) -> Implication:
    variables: dict[str, int] = {}
    premises = numbers.literals(rule.premises, variables)
    return Implication(premises, numbers.literals(rule.conclusions, variables))


def _closed_rule(rule: Rule, numbers: _Numbers) -> Implication:
    variables: dict[str, int] = {}
    premises = numbers.literals((atom for atom in rule.premises if atom.value), variables)
    bound = len(variables)
    negated = numbers.literals((atom for atom in rule.premises if not atom.value), variables)
    free = tuple((numbers.everything(), variable) for variable in range(-1 - bound, -1 - len(variables), -1))
    conclusions = numbers.literals((atom for atom in rule.conclusions if atom.value), variables)
    absent = tuple((relation & ~1, *arguments) for relation, *arguments in negated)
    return Implication((*premises, *free), conclusions, absent)
