"""What a program says of its query, in an open or in a closed world.

Open world (ProofWriter): a statement is True if it follows, False if its negation does, else Unknown. If both
follow, the negation wins, whichever of them was asked for: `P(c, True)` is False and `P(c, False)` is True,
as in the authors' engine, which takes the conjunction of the truth values it finds. (No theory of ProofWriter
contradicts itself.)

Closed world (RuleTaker): what does not follow is false. Negated premises are negation as failure under the
well-founded model (Van Gelder, Ross and Schlipf 1991), so that the order of rules and facts never matters;
what that model leaves undefined (`P` if not `P`) does not follow. A query is True or False, a negated one
the other way round.
"""

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import Literal

from envs.logic.language import Atom, Program
from envs.logic.theory import Numbers, Theory, World

Answer = Literal["True", "False", "Unknown"]
# What follows from a theory if exactly `assumed` counts as present where a rule asks for absence.
Derive = Callable[[Theory, Collection[Numbers]], Collection[Numbers]]
_NOTHING: frozenset[Numbers] = frozenset()


@dataclass(frozen=True, slots=True)
class Findings:
    """What an engine found out.

    holds: the query follows (in a closed world the query without its negation).
    opposite_holds: its negation follows; False in a closed world.
    is_reached: something of the query's predicate follows, of whatever constants and truth value.
    """

    holds: bool
    opposite_holds: bool
    is_reached: bool


def find(theory: Theory, derive: Derive) -> Findings:
    """Runs the engine `derive`, once, or until the well-founded model is found."""
    derived = well_founded(theory, derive) if theory.has_absent else derive(theory, _NOTHING)
    relations = (theory.query[0], theory.opposite[0])
    is_reached = any(fact[0] in relations for fact in derived)
    return Findings(theory.query in derived, theory.opposite in derived, is_reached)


def well_founded(theory: Theory, derive: Derive) -> Collection[Numbers]:
    """The true part of the well-founded model, by the alternating fixpoint (Van Gelder 1989).

    What follows if nothing is assumed is more than what is true; what follows if all of that is assumed is
    less; and so on from both sides until the lesser set grows no more.
    """
    true: Collection[Numbers] = _NOTHING
    while True:
        possible = derive(theory, true)
        more = derive(theory, possible)
        if len(more) == len(true):
            return true
        true = more


def answer(findings: Findings, query: Atom, world: World) -> Answer:
    """The truth of `query` as it was asked, negation and all."""
    if world == "closed":
        return "True" if findings.holds == query.value else "False"
    if findings.holds and findings.opposite_holds:
        return "False" if query.value else "True"
    if findings.holds:
        return "True"
    return "False" if findings.opposite_holds else "Unknown"


def not_derived(query: Atom, world: World) -> Answer:
    """The answer to a query of which nothing is known."""
    return answer(Findings(False, False, False), query, world)


def is_vacuous(program: Program, findings: Findings) -> bool:
    """Whether the program says nothing that its query could depend on.

    That is, nothing of the query's predicate (name and arity) is stated or derived, and the theory is empty
    or unrelated: it states no fact, or no fact and no rule has the query's predicate or one of its constants.
    """
    asked = (program.query.predicate, len(program.query.arguments))
    if findings.is_reached or any(_predicate(fact) == asked for fact in program.facts):
        return False
    if not program.facts:
        return True
    constants = set(program.query.arguments)
    stated = program.atoms[:-1]
    return not any(_predicate(atom) == asked or not constants.isdisjoint(atom.arguments) for atom in stated)


def _predicate(atom: Atom) -> tuple[str, int]:
    return atom.predicate, len(atom.arguments)
