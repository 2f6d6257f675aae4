"""Theories in ProofWriter's English, and as the gold program that says the same."""

import random
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from envisions_jax.tasks.theory_building import Sentences, X
from envs.logic.language import HEADINGS, Atom, Declaration, Program, Rule, parse
from envs.logic.theory import Implication, Numbers

GLOSS = " ::: "
_BRACKET = re.compile(r"\((?=\w)")  # before a name
_WORD = re.compile(r"\w+")


@dataclass(frozen=True)
class Names:
    """The words that stand for the numbers of a theory.

    attributes, verbs: predicates 0, 1, … in this order. Constants are people, or animals ("the cow").
    """

    constants: tuple[str, ...]
    attributes: tuple[str, ...]
    verbs: tuple[str, ...]
    are_people: bool

    def atom(self, literal: Numbers) -> Atom:
        """The literal as an atom of the language: Sees($x, Cow, False)."""
        relation, *terms = literal
        arguments = ["$x" if term == X else self.constants[term].capitalize() for term in terms]
        return Atom(self._predicate(relation >> 1), tuple(arguments), not relation & 1)

    def statement(self, literal: Numbers) -> str:
        """The literal as a sentence: "The cow does not see the dog." """
        return _sentence(self._clause(literal, self._noun(literal[1])))

    def rule(self, rule: Implication, rng: random.Random) -> str:
        """The rule as a sentence, in one of ProofWriter's wordings that can say it."""
        [conclusion] = rule.conclusions
        brief = self._brief_rule(rule.premises, conclusion, rng)
        if brief is not None and rng.random() < 0.5:
            return brief
        some, again = ("someone", "they") if self.are_people else ("something", "it")
        clauses, subject = [], some
        for premise in rule.premises:
            clauses.append(self._clause(premise, subject if premise[1] == X else self._noun(premise[1])))
            subject = again
        then = self._clause(conclusion, again if conclusion[1] == X else self._noun(conclusion[1]))
        return _sentence(f"if {' and '.join(clauses)} then {then}")

    def question(self, declaration: Declaration) -> str:
        """What a predicate says, as Logic-LM's glosses ask it: "Is x blue?" """
        verb = next((verb for verb in self.verbs if verb + "s" == declaration.predicate.lower()), None)
        return f"Is x {declaration.predicate.lower()}?" if verb is None else f"Does x {verb} y?"

    def _brief_rule(self, premises: Sequence[Numbers], conclusion: Numbers, rng: random.Random) -> str | None:
        """ "All blue things are kind." or "Blue, round people are kind."; None for what is not so simple."""
        if any(len(one) != 2 or one[1] != X or one[0] & 1 for one in (*premises, conclusion)):
            return None
        adjectives = ", ".join(self.attributes[premise[0] >> 1] for premise in premises)
        every = "all " if rng.random() < 0.5 else ""
        kind = "people" if self.are_people else "things"
        return _sentence(f"{every}{adjectives} {kind} are {self.attributes[conclusion[0] >> 1]}")

    def _clause(self, literal: Numbers, subject: str) -> str:
        relation, *terms = literal
        is_negated, are = relation & 1, subject == "they"
        if len(terms) == 1:
            is_not = " not" if is_negated else ""
            return f"{subject} {'are' if are else 'is'}{is_not} {self.attributes[relation >> 1]}"
        verb = self.verbs[(relation >> 1) - len(self.attributes)]
        them = "them" if self.are_people else "it"
        whom = them if terms[1] == X else self._noun(terms[1])
        if is_negated:
            return f"{subject} {'do' if are else 'does'} not {verb} {whom}"
        return f"{subject} {verb if are else verb + 's'} {whom}"

    def _noun(self, constant: int) -> str:
        return self.constants[constant] if self.are_people else f"the {self.constants[constant]}"

    def _predicate(self, number: int) -> str:
        if number < len(self.attributes):
            return self.attributes[number].capitalize()
        return self.verbs[number - len(self.attributes)].capitalize() + "s"


@dataclass(frozen=True)
class Told:
    """A theory and a query for a reader, and the program that says the same, with glosses."""

    context: str
    statement: str
    program: str


def tell(sentences: Sentences, query: Numbers, names: Names, rng: random.Random) -> Told:
    """The theory in English, sentence by sentence in its order, and its gold program."""
    facts = [names.statement(fact) for fact in sentences.facts]
    rules = [names.rule(rule, rng) for rule in sentences.rules]
    statement = names.statement(query)
    program = _program(sentences, query, names)
    glosses = [*map(names.question, program.predicates), *facts, *rules, statement]
    return Told(" ".join([*facts, *rules]), statement, _with_glosses(str(program), glosses))


def _program(sentences: Sentences, query: Numbers, names: Names) -> Program:
    """The theory and its query in the language of programs."""
    facts = tuple(map(names.atom, sentences.facts))
    rules = tuple(
        Rule(tuple(map(names.atom, rule.premises)), tuple(map(names.atom, rule.conclusions)))
        for rule in sentences.rules
    )
    program = Program((), facts, rules, names.atom(query))
    declared = dict.fromkeys(Declaration(atom.predicate, len(atom.arguments)) for atom in program.atoms)
    return replace(program, predicates=tuple(declared))


def short_form(program: str) -> str:
    """A program without what only readers need, its names the very words of the text: `` blue( Anne, True)``.

    No glosses, no section Predicates. A tokenizer makes the same token of a word with a space before it, in a
    sentence and here, and another one of its first letter in upper case or behind a bracket: small models
    copy tokens, and misspell what they have to spell anew (measured: see `configs/logic.py`).
    """
    told = parse(program)
    words = {word for line in program.split("\n") for word in _WORD.findall(line.partition(GLOSS)[2])}

    def reworded(atom: Atom) -> Atom:
        arguments = (name if name in words else name.lower() for name in atom.arguments)
        return Atom(atom.predicate.lower(), tuple(arguments), atom.value)

    def reworded_rule(rule: Rule) -> Rule:
        return Rule(tuple(map(reworded, rule.premises)), tuple(map(reworded, rule.conclusions)))

    facts, rules = tuple(map(reworded, told.facts)), tuple(map(reworded_rule, told.rules))
    lines = str(Program((), facts, rules, reworded(told.query))).split("\n")[1:]
    return "\n".join(line if line in HEADINGS else f" {_BRACKET.sub('( ', line)}" for line in lines)


def _with_glosses(program: str, glosses: Sequence[str]) -> str:
    """One gloss for every line that is no heading, in order."""
    following = iter(glosses)
    lines = program.split("\n")
    return "\n".join(line if line in HEADINGS else f"{line}{GLOSS}{next(following)}" for line in lines)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
