"""Pyke in memory: its own engine, fact base, rule base and rules, made from numbers.

Pyke compiles a rule base to a Python module, which is imported and kept; the first one that is compiled then
answers for every later program. Here the objects that such a module would make are made directly: no file, no
generated source, no import, no name or text of a program, and an engine of its own for each pass over one.
What a compiled rule's function does is done by `_Rule.run`, premise by premise.

Runs in the sandbox, a child of the zygote for each program, because Pyke has no limits of its own: it keeps
facts in lists and derives depth first.
"""

import json
import sys
import types
import warnings
from collections.abc import Collection, Iterator
from functools import partial
from typing import Any

from envs.logic.theory import MOST_DERIVED, Implication, Numbers, OutOfBudget, Theory
from envs.logic.worlds import Findings, find

# Pyke calls itself for each fact that follows from the last one: six frames, none of them on C's stack.
_MOST_FRAMES = 2_000_000
_FACTS, _RULES = "facts", "rules"

if sys.version_info >= (3, 12):  # Pyke imports it, and uses it only to reload what it has compiled
    sys.modules.setdefault("imp", types.ModuleType("imp"))
with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)
    from pyke import contexts, fact_base, fc_rule, knowledge_base, knowledge_engine, pattern, rule_base


def run(payload: dict[str, Any]) -> bytes:
    """`payload`: a theory in numbers; the line says {"findings": three booleans}, {"timeout": …} or
    {"error": …}.
    """
    sys.setrecursionlimit(_MOST_FRAMES)
    try:
        found = find(Theory.from_json(payload), derive)
        said: dict[str, Any] = {"findings": [found.holds, found.opposite_holds, found.is_reached]}
    except OutOfBudget as error:
        said = {"timeout": str(error)}
    except (MemoryError, RecursionError) as error:
        said = {"error": f"the program takes too much memory ({type(error).__name__})"}
    return (json.dumps(said) + "\n").encode("ascii")


def warm_up() -> None:
    """Fills what Python and Pyke fill at first use. Raises RuntimeError if Pyke does not work."""
    chain = tuple(Implication(((n, -1),), ((n + 2, -1),), ((9, 1),)) for n in (0, 2, 4))
    found = find(Theory(((0, 0),), chain, (6, 0)), derive)
    if found != Findings(True, False, True):
        raise RuntimeError(f"Pyke does not derive what it should: {found}")


def derive(theory: Theory, assumed: Collection[Numbers] = frozenset()) -> set[Numbers]:
    """Everything that follows, by a Pyke engine that is made for it and forgotten after it.

    assumed: what counts as present where a rule asks for absence.

    Raises OutOfBudget.
    """
    engine = knowledge_engine.engine()
    places = iter(range(len(theory.facts) + MOST_DERIVED))
    facts = fact_base.fact_base(engine, _FACTS)
    facts.entity_list_type = partial(_Facts, places=places)
    for relation, *constants in theory.facts:
        facts.add_universal_fact(relation, tuple(constants))
    rules = rule_base.rule_base(engine, _RULES)
    for number, implication in enumerate(theory.rules):
        _Rule(implication, assumed).add_to(rules, number)
    rules.init2()
    engine.activate(_RULES)
    return {
        (relation, *constants)
        for relation, known in facts.entity_lists.items()
        for constants in (*known.universal_facts, *known.case_specific_facts)
    }


class _Facts(fact_base.fact_list):
    """The facts of one relation. Those of all relations share `places`; OutOfBudget when none is left."""

    def __init__(self, relation: int, places: Iterator[int]) -> None:
        super().__init__(relation)
        self._places = places

    def add_args(self, args: tuple[int, ...]) -> None:
        """Pyke calls it for each fact that is new."""
        if next(self._places, None) is None:
            raise OutOfBudget.too_many_facts()
        super().add_args(args)


class _Rule:
    """One rule as Pyke's compiler would have written it."""

    def __init__(self, implication: Implication, assumed: Collection[Numbers]) -> None:
        self._premises = [(literal[0], _patterns(literal)) for literal in implication.premises]
        self._conclusions = [(literal[0], _patterns(literal)) for literal in implication.conclusions]
        self._absent = [(literal[0], _patterns(literal)) for literal in implication.absent]
        self._assumed = assumed

    def add_to(self, rules: Any, number: int) -> None:
        foreach = tuple((_FACTS, relation, patterns, False) for relation, patterns in self._premises)
        fc_rule.fc_rule(number, rules, self.run, foreach, ())

    def run(self, rule: Any, context: Any = None, index: int | None = None) -> None:
        """Pyke's entry: for all facts, or for a new one that matched premise `index` and bound `context`."""
        if context is None:
            context = contexts.simple_context()
        try:
            self._match(rule, context, index, 0)
        finally:
            context.done()

    def _match(self, rule: Any, context: Any, index: int | None, place: int) -> None:
        """Matches the premises from `place` on, then asserts the conclusions."""
        engine = rule.rule_base.engine
        if place == len(self._premises):
            if not any(_literal(absent, context) in self._assumed for absent in self._absent):
                for conclusion in self._conclusions:
                    relation, *constants = _literal(conclusion, context)
                    engine.assert_(_FACTS, relation, constants)
            return
        relation, patterns = self._premises[place]
        found = (
            knowledge_base.Gen_once if place == index else engine.lookup(_FACTS, relation, context, patterns)
        )
        with found as matches:
            for _ in matches:
                self._match(rule, context, index, place + 1)


def _patterns(literal: Numbers) -> tuple[Any, ...]:
    return tuple(
        [_VARIABLES[-1 - term] if term < 0 else pattern.pattern_literal(term) for term in literal[1:]]
    )


def _literal(signed: tuple[int, tuple[Any, ...]], context: Any) -> Numbers:
    relation, patterns = signed
    return (relation, *[each.as_data(context) for each in patterns])


# As many as a rule can have. Pyke keeps every variable that was ever made, so that making them for each
# program would leave something behind.
_VARIABLES = tuple(contexts.variable(f"v{number}") for number in range(128))
