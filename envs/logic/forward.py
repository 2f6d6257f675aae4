"""A forward chainer over sets: no generated code, nothing that a text could reach, no sandbox needed.

Facts wait in a queue. One that comes out meets, for each premise it matches, the facts that came out before
it: so every instance of a rule is found once, when the last of its premises comes out (semi-naive
evaluation; Ullman, Principles of Database and Knowledge-Base Systems, chapter 3). The queue is in the order
of depth, so that the first derivation of a fact is one of the least depth.

The language has no functions, so every program ends, if only after n¹²⁸ steps with n constants. A budget of
steps ends such programs, the same on every host.
"""

import time
from collections import defaultdict
from collections.abc import Collection, Sequence

from envs.logic.theory import MOST_DERIVED, Implication, Numbers, OutOfBudget, Theory

MOST_STEPS = 100_000
_LOOK_AT_CLOCK = 4096  # steps


class Budget:
    """What all passes over one program may take together.

    steps: rules and facts looked at.
    seconds: of wall-clock time, looked at now and then; None for no limit.
    """

    def __init__(self, steps: int = MOST_STEPS, seconds: float | None = None) -> None:
        self._steps = self._left = steps
        self._end = None if seconds is None else time.monotonic() + seconds
        self._look = _LOOK_AT_CLOCK

    def spend(self, steps: int) -> None:
        """Raises OutOfBudget when nothing is left."""
        self._left -= steps
        if self._left < 0:
            raise OutOfBudget(f"the program takes more than {self._steps} steps")
        self._look -= steps
        if self._look < 0:
            self._look = _LOOK_AT_CLOCK
            if self._end is not None and time.monotonic() > self._end:
                raise OutOfBudget("the program did not end within its time limit")


def derive(theory: Theory, budget: Budget, assumed: Collection[Numbers] = frozenset()) -> dict[Numbers, int]:
    """Everything that follows, with its depth: 0 if stated, else one more than its deepest premise.

    assumed: what counts as present where a rule asks for absence.

    Raises OutOfBudget.
    """
    return _Chainer(theory, budget, assumed).run()


class _Chainer:
    def __init__(self, theory: Theory, budget: Budget, assumed: Collection[Numbers]) -> None:
        self._budget, self._assumed = budget, assumed
        self._most = len(theory.facts) + MOST_DERIVED
        self._triggers: defaultdict[int, list[tuple[Implication, int]]] = defaultdict(list)
        self._depths: dict[Numbers, int] = dict.fromkeys(theory.facts, 0)
        self._queue: list[Numbers] = list(self._depths)
        # Facts that came out of the queue, by (relation, place, constant); place 0 is the relation itself.
        self._known: defaultdict[tuple[int, int, int], list[Numbers]] = defaultdict(list)
        budget.spend(len(theory.facts) + len(theory.rules))
        for rule in theory.rules:
            for place, premise in enumerate(rule.premises):
                self._triggers[premise[0]].append((rule, place))
            if not rule.premises and self._holds(rule, {}):
                self._conclude(rule, {}, 0)

    def run(self) -> dict[Numbers, int]:
        for fact in self._queue:  # grows meanwhile
            relation = fact[0]
            for place, term in enumerate(fact):
                self._known[relation, place, term].append(fact)
            for rule, place in self._triggers.get(relation, ()):
                self._budget.spend(1)
                binding = _match(rule.premises[place], fact, {})
                if binding is not None:
                    rest = rule.premises[:place] + rule.premises[place + 1 :]
                    self._join(rule, rest, binding, self._depths[fact] + 1)
        return self._depths

    def _join(self, rule: Implication, rest: Sequence[Numbers], binding: dict[int, int], depth: int) -> None:
        """Concludes for every way to match `rest` with known facts."""
        if not rest:
            if self._holds(rule, binding):
                self._conclude(rule, binding, depth)
            return
        premise = rest[0]
        candidates = self._candidates(premise, binding)
        self._budget.spend(len(candidates) + 1)
        for fact in candidates:
            further = _match(premise, fact, binding)
            if further is not None:
                self._join(rule, rest[1:], further, depth)

    def _candidates(self, premise: Numbers, binding: dict[int, int]) -> Sequence[Numbers]:
        """Known facts that may match; the shortest list that an argument leads to."""
        relation = premise[0]
        found: Sequence[Numbers] = self._known.get((relation, 0, relation), ())
        for place, term in enumerate(premise[1:], start=1):
            constant = term if term >= 0 else binding.get(term)
            if constant is not None:
                here = self._known.get((relation, place, constant), ())
                if len(here) < len(found):
                    found = here
        return found

    def _holds(self, rule: Implication, binding: dict[int, int]) -> bool:
        return not any(_ground(literal, binding) in self._assumed for literal in rule.absent)

    def _conclude(self, rule: Implication, binding: dict[int, int], depth: int) -> None:
        for conclusion in rule.conclusions:
            fact = _ground(conclusion, binding)
            if fact not in self._depths:
                if len(self._depths) >= self._most:
                    raise OutOfBudget.too_many_facts()
                self._depths[fact] = depth
                self._queue.append(fact)


def _match(pattern: Numbers, fact: Numbers, binding: dict[int, int]) -> dict[int, int] | None:
    """`binding` and what makes `pattern` the `fact`; None if nothing does. Both are of one relation."""
    new = binding
    for term, constant in zip(pattern, fact, strict=True):
        if term < 0:
            known = new.get(term)
            if known is None:
                if new is binding:
                    new = binding.copy()
                new[term] = constant
                continue
            term = known
        if term != constant:
            return None
    return new


def _ground(literal: Numbers, binding: dict[int, int]) -> Numbers:
    return tuple([term if term >= 0 else binding[term] for term in literal])
