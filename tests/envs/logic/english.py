"""ProofWriter's and RuleTaker's templated English to the gold program, for tests.

Everything here is taken from the templates of the two data sets; a sentence of another form is a ValueError.
"""

import re
from collections.abc import Sequence

from envs.logic.language import Atom, Declaration, Program, Rule

VERBS = ("chase", "eat", "like", "need", "see", "visit")
_PRONOUNS = ("someone", "something", "it", "they")
_VERB = "|".join(f"{verb}s?" for verb in VERBS)
_CLAUSE = re.compile(
    rf"(?P<subject>.+?) (?:(?:is|are) (?P<is_not>not )?(?P<attribute>[a-z]+)"
    rf"|(?P<does_not>(?:does|do) not )?(?P<verb>{_VERB}) (?P<object>.+))",
    re.IGNORECASE,
)
_ATTRIBUTE = re.compile(r"(?P<is_not>not )?(?P<attribute>[a-z]+)")
_ALL = re.compile(
    r"(?:all )?(?P<attributes>[a-z]+(?:, [a-z]+)*) (?:people|things) are (?P<then>(?:not )?[a-z]+)", re.I
)


def translate(context: str, question: str) -> Program:
    """The gold program of a theory and a statement, both as the data sets have them."""
    facts: list[Atom] = []
    rules: list[Rule] = []
    for sentence in re.split(r"(?<=\.)\s+", context.strip()):
        statement = _sentence(sentence)
        if isinstance(statement, Rule):
            rules.append(statement)
        else:
            facts.append(statement)
    query = _sentence(question)
    if isinstance(query, Rule):
        raise ValueError(f"a rule is asked for: {question!r}")
    atoms = [*facts, *(atom for rule in rules for atom in (*rule.premises, *rule.conclusions)), query]
    declared = dict.fromkeys(Declaration(atom.predicate, len(atom.arguments)) for atom in atoms)
    return Program(tuple(declared), tuple(facts), tuple(rules), query)


def _sentence(sentence: str) -> Atom | Rule:
    text = sentence.strip().removesuffix(".")
    if text.startswith("If "):
        premises, _, conclusions = text.removeprefix("If ").partition(" then ")
        return Rule(_clauses(premises), _clauses(conclusions))
    if match := _ALL.fullmatch(text):
        premises_ = [Atom(_name(word), ("$x",), True) for word in match["attributes"].split(", ")]
        return Rule(tuple(premises_), (_attribute(match["then"], "$x"),))
    (atom,) = _clauses(text)
    return atom


def _clauses(text: str) -> tuple[Atom, ...]:
    """ "someone is red and not big and they see the dog": three atoms."""
    atoms: list[Atom] = []
    for part in text.split(" and "):
        if match := _CLAUSE.fullmatch(part):
            subject = _term(match["subject"])
            if match["attribute"]:
                atoms.append(Atom(_name(match["attribute"]), (subject,), match["is_not"] is None))
            else:
                verb = _name(match["verb"].lower().removesuffix("s"))
                atoms.append(Atom(verb, (subject, _term(match["object"])), match["does_not"] is None))
        elif atoms and _ATTRIBUTE.fullmatch(part):
            atoms.append(_attribute(part, atoms[-1].arguments[0]))
        else:
            raise ValueError(f"not a clause of the templates: {part!r} in {text!r}")
    return tuple(atoms)


def _attribute(text: str, subject: str) -> Atom:
    return Atom(_name(text.removeprefix("not ")), (subject,), not text.startswith("not "))


def _term(words: str) -> str:
    if words.lower() in _PRONOUNS:
        return "$x"
    return "_".join(_name(word) for word in _without_article(words.split()))


def _without_article(words: Sequence[str]) -> Sequence[str]:
    return words[1:] if words[0].lower() == "the" else words


def _name(word: str) -> str:
    if not re.fullmatch("[A-Za-z]+", word):
        raise ValueError(f"not a word: {word!r}")
    return word.capitalize()
