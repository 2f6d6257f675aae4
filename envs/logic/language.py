"""The language of logic programs, Logic-LM's: a strict reader from text to a typed program.

    Predicates:
    Blue($x, bool) ::: Is x blue?
    Likes($x, $y, bool) ::: Does x like y?
    Facts:
    Blue(Anne, True) ::: Anne is blue.
    Likes(Anne, Bob, False) ::: Anne does not like Bob.
    Rules:
    Blue($x, True) && Likes($x, Bob, False) >>> Likes(Bob, $x, True) ::: Bob likes ...
    Query:
    Likes(Bob, Anne, True) ::: Bob likes Anne.

Sections come in this order, each at most once, their headings alone on a line; only the query must be there,
and it is one atom. One statement a line; ` ::: ` and what follows it is a gloss for the reader. Names are
ASCII letters, digits and `_`, and do not start with a digit. The last argument of an atom is its truth
value. Lines end with `\\n` or `\\r\\n`, and every other character that cannot be printed, tabs aside, is an
error: what one reader takes for the end of a line and another does not would let a gloss hide statements.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NoReturn

HEADINGS = ("Predicates:", "Facts:", "Rules:", "Query:")
MOST_TEXT = 65_536
MOST_STATEMENTS = 4_096
MOST_ATOMS = 16  # of one rule
MOST_ARGUMENTS = 8
MOST_NAME = 64
_GLOSS = ":::"
_TRUTH = {"True": True, "False": False}
_TOKEN = re.compile(r"\$?[A-Za-z_][A-Za-z0-9_]*|>>>|&&|[^ \t]")
_SHOWN = 24  # characters of a token that a message repeats


class LogicSyntaxError(ValueError):
    """No program of the language. `line` and `column` count from 1; the text names both."""

    def __init__(self, message: str, line: int, column: int) -> None:
        super().__init__(f"line {line}, column {column}: {message}")
        self.line, self.column = line, column


@dataclass(frozen=True, slots=True)
class Declaration:
    """`Likes($x, $y, bool)`: documentation for the reader, checked for its form alone."""

    predicate: str
    arity: int

    def __str__(self) -> str:
        names = [f"${letter}" for letter in "xyzuvwst"[: self.arity]]
        return f"{self.predicate}({', '.join([*names, 'bool'])})"


@dataclass(frozen=True, slots=True)
class Atom:
    """`Likes($x, Bob, False)`; an argument that starts with `$` is a variable."""

    predicate: str
    arguments: tuple[str, ...]
    value: bool

    @property
    def variables(self) -> tuple[str, ...]:
        return tuple(argument for argument in self.arguments if argument[0] == "$")

    def __str__(self) -> str:
        return f"{self.predicate}({', '.join([*self.arguments, str(self.value)])})"


@dataclass(frozen=True, slots=True)
class Rule:
    """If all premises hold, so do all conclusions. Each variable of a conclusion occurs in a premise."""

    premises: tuple[Atom, ...]
    conclusions: tuple[Atom, ...]

    def __str__(self) -> str:
        return " >>> ".join(" && ".join(map(str, side)) for side in (self.premises, self.conclusions))


@dataclass(frozen=True, slots=True)
class Program:
    """A theory and what is asked of it. Facts and query have no variables. `str` is its text."""

    predicates: tuple[Declaration, ...]
    facts: tuple[Atom, ...]
    rules: tuple[Rule, ...]
    query: Atom

    @property
    def atoms(self) -> list[Atom]:
        """Every atom, in the order of the text; the query is the last."""
        of_rules = [atom for rule in self.rules for atom in (*rule.premises, *rule.conclusions)]
        return [*self.facts, *of_rules, self.query]

    def __str__(self) -> str:
        sections: tuple[Iterable[object], ...] = (self.predicates, self.facts, self.rules, (self.query,))
        lines = [[heading, *map(str, section)] for heading, section in zip(HEADINGS, sections, strict=True)]
        return "\n".join(line for section in lines for line in section)


def parse(text: str) -> Program:
    """The program that `text` is. Raises LogicSyntaxError, which names line and column, if it is none."""
    if len(text) > MOST_TEXT:
        raise LogicSyntaxError(f"the program is longer than {MOST_TEXT} characters", 1, 1)
    predicates: list[Declaration] = []
    rules: list[Rule] = []
    facts: list[Atom] = []
    queries: list[Atom] = []
    section, statements = -1, 0
    lines = text.replace("\r\n", "\n").split("\n")
    for number, whole in enumerate(lines, start=1):
        code = _code(whole, number)
        if not code or code.isspace():
            continue
        heading = code.strip(" \t")
        if heading in HEADINGS:
            section = _next_section(section, HEADINGS.index(heading), number, code)
            continue
        statements += 1
        line = _Line(code, number)
        if statements > MOST_STATEMENTS:
            line.fail(f"more than {MOST_STATEMENTS} statements", 0)
        if section == 1:
            facts.append(_ground(line, "fact"))
        elif section == 2:
            rules.append(_rule(line))
        elif section == 0:
            predicates.append(_declaration(line))
        elif section < 0:
            alone = ", alone on its line" if f"{line.tokens[0]}:" in HEADINGS else ""
            line.fail(f"expected a heading, one of {' '.join(HEADINGS)}{alone}, found {line.found(0)}", 0)
        elif queries:
            line.fail("a second query: the program asks exactly one", 0)
        else:
            queries.append(_ground(line, "query"))
    if not queries:
        what = "'Query:' is empty" if section == 3 else "there is no 'Query:'"
        raise LogicSyntaxError(f"{what}; the program must end with one query", len(lines), 1)
    return Program(tuple(predicates), tuple(facts), tuple(rules), queries[0])


def _code(line: str, number: int) -> str:
    """A line without its gloss."""
    if not line.isprintable():
        for column, character in enumerate(line, start=1):
            if not character.isprintable() and character != "\t":
                message = f"the character U+{ord(character):04X} is not allowed"
                raise LogicSyntaxError(message, number, column)
    code = line.partition(_GLOSS)[0] if _GLOSS in line else line
    if not code.isascii():
        column = next(place for place, character in enumerate(code, start=1) if not character.isascii())
        message = f"{code[column - 1]!r} is not allowed: only ASCII, except in a gloss after {_GLOSS}"
        raise LogicSyntaxError(message, number, column)
    return code


def _next_section(now: int, then: int, number: int, code: str) -> int:
    if then <= now:
        what = "occurs twice" if then == now else f"must come before {HEADINGS[now]}"
        column = len(code) - len(code.lstrip(" \t")) + 1
        raise LogicSyntaxError(f"{HEADINGS[then]} {what}", number, column)
    return then


class _Line:
    """The tokens of one statement, read from left to right. After the last one come empty ones."""

    def __init__(self, code: str, number: int) -> None:
        self.code, self.number = code, number
        self.tokens = [*_TOKEN.findall(code), ""]
        self.place = 0

    def fail(self, message: str, place: int) -> NoReturn:
        """Raises LogicSyntaxError at token `place`."""
        starts = [match.start() for match in _TOKEN.finditer(self.code)]
        column = starts[place] if place < len(starts) else len(self.code.rstrip(" \t"))
        raise LogicSyntaxError(message, self.number, column + 1)

    def found(self, place: int) -> str:
        token = self.tokens[place]
        if len(token) > _SHOWN:
            token = token[:_SHOWN] + "…"
        return repr(token) if token else "the end of the line"

    def expect(self, token: str, why: str) -> None:
        if self.tokens[self.place] != token:
            self.fail(f"expected {token!r} {why}, found {self.found(self.place)}", self.place)
        self.place += 1

    def call(self, last: str) -> tuple[str, list[str]]:
        """`Name(argument, …)`: the name and its arguments, of which the last is still a word.

        last: what the message says about the last argument if there is none.
        """
        tokens, place = self.tokens, self.place
        name = tokens[place]
        if not name.isidentifier() or name in _TRUTH:
            self.fail(f"expected the name of a predicate, found {self.found(place)}", place)
        if len(name) > MOST_NAME:
            self.fail(f"a name has at most {MOST_NAME} characters", place)
        if tokens[place + 1] != "(":
            self.fail(f"expected '(' after {self.found(place)}, found {self.found(place + 1)}", place + 1)
        arguments: list[str] = []
        while True:
            place += 2
            word = tokens[place]
            if not (word.isidentifier() or (len(word) > 1 and word[0] == "$")):
                self.fail(f"expected an argument, found {self.found(place)}", place)
            if len(word) > MOST_NAME:
                self.fail(f"a name has at most {MOST_NAME} characters", place)
            if len(arguments) > MOST_ARGUMENTS:
                self.fail(f"more than {MOST_ARGUMENTS} arguments beside {last}", place)
            arguments.append(word)
            after = tokens[place + 1]
            if after == ")":
                break
            if after != ",":
                message = f"expected ',' or ')' after {self.found(place)}, found {self.found(place + 1)}"
                self.fail(message, place + 1)
        self.place = place + 2
        return name, arguments

    def atom(self) -> Atom:
        name, arguments = self.call("True or False")
        value = _TRUTH.get(arguments.pop())
        if value is None:
            place = self.place - 2
            self.fail(f"the last argument must be True or False, found {self.found(place)}", place)
        for place, argument in enumerate(arguments):
            if argument in _TRUTH:
                self.fail(
                    "True or False must be the last argument", self.place - 2 * (len(arguments) - place + 1)
                )
        return Atom(name, tuple(arguments), value)

    def end(self) -> None:
        if self.tokens[self.place]:
            what = f"expected the end of the line or {_GLOSS}, found {self.found(self.place)}"
            is_rule = self.tokens[self.place] in (">>>", "&&") and ">>>" not in self.tokens[: self.place]
            self.fail(what + ("; a rule belongs under Rules:" if is_rule else ""), self.place)


def _declaration(line: _Line) -> Declaration:
    name, arguments = line.call("bool")
    if arguments.pop() != "bool":
        line.fail(f"the last argument must be bool, found {line.found(line.place - 2)}", line.place - 2)
    for place, argument in enumerate(arguments):
        if argument[0] != "$":
            message = f"expected a variable such as $x, found {argument!r:.{_SHOWN}}"
            line.fail(message, line.place - 2 * (len(arguments) - place + 1))
    line.end()
    return Declaration(name, len(arguments))


def _ground(line: _Line, what: str) -> Atom:
    """One atom without variables."""
    atom = line.atom()
    line.end()
    for variable in atom.variables:
        line.fail(f"a {what} has no variables, found {variable!r:.{_SHOWN}}", line.tokens.index(variable))
    return atom


def _rule(line: _Line) -> Rule:
    premises = [line.atom()]
    conclusions: list[Atom] = []
    while line.tokens[line.place] == "&&":
        line.place += 1
        premises.append(_another(line, len(premises)))
    arrow = line.place
    line.expect(">>>", "or '&&' after a premise")
    while not conclusions or line.tokens[line.place] == "&&":
        line.place += bool(conclusions)
        conclusions.append(_another(line, len(premises) + len(conclusions)))
    line.end()
    bound = {variable for atom in premises for variable in atom.variables}
    for atom in conclusions:
        for variable in atom.variables:
            if variable not in bound:
                message = f"{variable!r:.{_SHOWN}} is in a conclusion but in no premise"
                line.fail(message, line.tokens.index(variable, arrow))
    return Rule(tuple(premises), tuple(conclusions))


def _another(line: _Line, before: int) -> Atom:
    if before >= MOST_ATOMS:
        line.fail(f"more than {MOST_ATOMS} atoms in a rule", line.place)
    return line.atom()
