"""What a program says of its query, worked out in the simplest way: by trying all constants in all rules.

Shares no code with the environment but the program: truth tables instead of joins, names instead of numbers.
"""

from itertools import product

from envs.logic.language import Atom, Program, Rule

Signed = tuple[str, tuple[str, ...], bool]


def grounded_answer(program: Program, world: str) -> str:
    instances = list(_instances(program))
    facts = {_signed(atom, {}) for atom in program.facts}
    name, arguments, value = _signed(program.query, {})
    if world == "open":
        known = _fixpoint(facts, instances)
        if (name, arguments, False) in known:
            return str(not value)
        return str(value) if (name, arguments, True) in known else "Unknown"
    true: set[Signed] = set()
    while True:
        more = _reduct(facts, instances, _reduct(facts, instances, true))
        if more == true:
            return str(((name, arguments, True) in true) == value)
        true = more


def _instances(program: Program) -> list[tuple[list[Signed], list[Signed]]]:
    """Premises and conclusions of every rule with every choice of constants."""
    rules = program.rules
    atoms = [*program.facts, program.query, *(a for r in rules for a in (*r.premises, *r.conclusions))]
    constants = sorted({term for atom in atoms for term in atom.arguments if not term.startswith("$")})
    found = []
    for rule in rules:
        names = _variables(rule)
        for choice in product(constants, repeat=len(names)):
            binding = dict(zip(names, choice, strict=True))
            sides = (rule.premises, rule.conclusions)
            premises, conclusions = ([_signed(atom, binding) for atom in side] for side in sides)
            found.append((premises, conclusions))
    return found


def _variables(rule: Rule) -> list[str]:
    return sorted({name for atom in rule.premises for name in atom.variables})


def _signed(atom: Atom, binding: dict[str, str]) -> Signed:
    return atom.predicate, tuple(binding.get(term, term) for term in atom.arguments), atom.value


def _fixpoint(facts: set[Signed], instances: list[tuple[list[Signed], list[Signed]]]) -> set[Signed]:
    known = set(facts)
    while True:
        new = {c for premises, conclusions in instances if known.issuperset(premises) for c in conclusions}
        if new <= known:
            return known
        known |= new


def _reduct(
    facts: set[Signed], instances: list[tuple[list[Signed], list[Signed]]], assumed: set[Signed]
) -> set[Signed]:
    """The least model when a negated premise holds exactly if its atom is not assumed."""
    kept = []
    for premises, conclusions in instances:
        if not any((name, arguments, True) in assumed for name, arguments, value in premises if not value):
            positive = [atom for atom in premises if atom[2]]
            kept.append((positive, [atom for atom in conclusions if atom[2]]))
    return _fixpoint({fact for fact in facts if fact[2]}, kept)
