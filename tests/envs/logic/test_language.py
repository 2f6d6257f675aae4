"""The language of logic programs: what is one, what it says, and where an error is."""

import random

import pytest

from envs.logic.language import (
    MOST_ARGUMENTS,
    MOST_ATOMS,
    MOST_NAME,
    MOST_STATEMENTS,
    MOST_TEXT,
    Atom,
    Declaration,
    LogicSyntaxError,
    Program,
    Rule,
    parse,
)
from tests.envs.logic.theories import random_case

PROGRAM = """\
Predicates:
Blue($x, bool) ::: Is x blue?
Likes($x, $y, bool)
Rains(bool)

Facts:
Blue(Anne, True) ::: Anne is blue.
\tLikes( Anne ,Bald_Eagle,False )   ::: “Anne” does not like it ::: nor this & that
Rules:
Blue($x, True) && Likes($x, Bald_Eagle, False) >>> Likes(Bald_Eagle, $x, True) && Rains(False)

Query:
Likes(Bald_Eagle, Anne, True)
"""
EXPECTED = Program(
    predicates=(Declaration("Blue", 1), Declaration("Likes", 2), Declaration("Rains", 0)),
    facts=(Atom("Blue", ("Anne",), True), Atom("Likes", ("Anne", "Bald_Eagle"), False)),
    rules=(
        Rule(
            (Atom("Blue", ("$x",), True), Atom("Likes", ("$x", "Bald_Eagle"), False)),
            (Atom("Likes", ("Bald_Eagle", "$x"), True), Atom("Rains", (), False)),
        ),
    ),
    query=Atom("Likes", ("Bald_Eagle", "Anne"), True),
)


@pytest.mark.parametrize("text", [PROGRAM, PROGRAM.replace("\n", "\r\n"), "\n\n" + PROGRAM.rstrip("\n")])
def test_a_program_is_read(text: str) -> None:
    assert parse(text) == EXPECTED


def test_its_text_is_read_as_itself() -> None:
    random_ = random.Random(0)
    for _ in range(300):
        program = random_case(random_).program
        assert parse(str(program)) == program


@pytest.mark.parametrize(
    "text",
    [
        "Query:\nA(b, True)",
        "Facts:\nRules:\nQuery:\nA(b, True)",
        "Rules:\nA($x, True) >>> A($x, False)\nQuery:\nA(b, True) ::: é",
        "  Query:\t\nA(b,True)",
        "Query:\n_a1(_, True)",
        "Query:\nA(" + "b, " * MOST_ARGUMENTS + "True)",
        "Query:\n" + "A" * MOST_NAME + "(b, True)",
        "Facts:\n" + "A(b, True)\n" * (MOST_STATEMENTS - 1) + "Query:\nA(b, True)",
        "Rules:\n" + " && ".join(["A($x, True)"] * (MOST_ATOMS - 1)) + ">>>A($x, True)\nQuery:\nA(b, True)",
    ],
)
def test_accepted(text: str) -> None:
    assert parse(text).query.arguments is not None


def _with(section: str, statement: str) -> str:
    """A program whose third line is `statement`."""
    start = f"{section}\nA($x, bool)\n" if section == "Predicates:" else f"Predicates:\n{section}\n"
    return start + statement + ("" if section == "Query:" else "\nQuery:\nA(b, True)")


@pytest.mark.parametrize(
    ("section", "statement", "column", "message"),
    [
        ("Facts:", "A(b True)", 5, "expected ',' or ')' after 'b', found 'True'"),
        ("Facts:", "A(b, True", 10, "expected ',' or ')' after 'True', found the end of the line"),
        ("Facts:", "A(b)", 3, "the last argument must be True or False, found 'b'"),
        ("Facts:", "A(b, true)", 6, "the last argument must be True or False, found 'true'"),
        ("Facts:", "A(True, b, False)", 3, "True or False must be the last argument"),
        ("Facts:", "A(c, True, b, False)", 6, "True or False must be the last argument"),
        ("Facts:", "A()", 3, "expected an argument, found ')'"),
        ("Facts:", "A(b,, True)", 5, "expected an argument, found ','"),
        ("Facts:", "A(Bald Eagle, True)", 8, "expected ',' or ')' after 'Bald', found 'Eagle'"),
        ("Facts:", "Not A(b, True)", 5, "expected '(' after 'Not', found 'A'"),
        ("Facts:", "A(b, True).", 11, "expected the end of the line or :::, found '.'"),
        ("Facts:", "A(b, True) # so", 12, "expected the end of the line or :::, found '#'"),
        ("Facts:", "A(b, True) A(c, True)", 12, "expected the end of the line"),
        ("Facts:", "A(b, True) >>> A(c, True)", 12, "a rule belongs under Rules:"),
        ("Facts:", "  A($x, True)", 5, "a fact has no variables, found '$x'"),
        ("Facts:", "A(b(c), True)", 4, "expected ',' or ')' after 'b', found '('"),
        ("Facts:", "1A(b, True)", 1, "expected the name of a predicate, found '1'"),
        ("Facts:", "A(7, True)", 3, "expected an argument, found '7'"),
        ("Facts:", "A('b', True)", 3, 'expected an argument, found "\'"'),
        ("Facts:", "True(b, True)", 1, "expected the name of a predicate, found 'True'"),
        ("Facts:", "$A(b, True)", 1, "expected the name of a predicate, found '$A'"),
        ("Facts:", "A-B(b, True)", 2, "expected '(' after 'A', found '-'"),
        ("Facts:", "Größe(b, True)", 3, "'ö' is not allowed: only ASCII, except in a gloss after :::"),
        ("Facts:", "A(b, True) :: :é", 16, "'é' is not allowed"),
        ("Facts:", "A(b, True) ::: a\x0cb", 17, "the character U+000C is not allowed"),
        ("Facts:", "A(b,\xa0True)", 5, "the character U+00A0 is not allowed"),
        ("Facts:", "A" * 65 + "(b, True)", 1, "a name has at most 64 characters"),
        ("Facts:", "A(" + "b" * 65 + ", True)", 3, "a name has at most 64 characters"),
        ("Facts:", "A(" + "b, " * 9 + "True)", 30, "more than 8 arguments beside True or False"),
        ("Facts:", "(" * 30, 1, "expected the name of a predicate, found '('"),
        ("Rules:", "A($x, True)", 12, "expected '>>>' or '&&' after a premise, found the end of the line"),
        ("Rules:", ">>> A(b, True)", 1, "expected the name of a predicate, found '>>>'"),
        ("Rules:", "A($x, True) >>>", 16, "expected the name of a predicate, found the end of the line"),
        ("Rules:", "A($x, True) && >>> A(b, True)", 16, "expected the name of a predicate, found '>>>'"),
        ("Rules:", "A($x, True) >> A($x, True)", 13, "expected '>>>' or '&&' after a premise, found '>'"),
        ("Rules:", "A($x, True) >>> A($x, True) >>> A($x, True)", 29, "expected the end of the line"),
        ("Rules:", "A($x, True) >>> A($y, True)", 19, "'$y' is in a conclusion but in no premise"),
        ("Rules:", "A($x, True) >>> A($x, True) && B(b, $y, True)", 37, "'$y' is in a conclusion"),
        ("Rules:", "A($, True) >>> A(b, True)", 3, "expected an argument, found '$'"),
        ("Rules:", " && ".join(["A($x, True)"] * 17), 241, "more than 16 atoms in a rule"),
        ("Predicates:", "A($x, Bool)", 7, "the last argument must be bool, found 'Bool'"),
        ("Predicates:", "A(x, bool)", 3, "expected a variable such as $x, found 'x'"),
        ("Predicates:", "A", 2, "expected '(' after 'A', found the end of the line"),
        ("Query:", "A($x, True)", 3, "a query has no variables, found '$x'"),
        ("Query:", "A(b, True) && A(c, True)", 12, "expected the end of the line or :::, found '&&'"),
    ],
)
def test_errors_name_line_and_column(section: str, statement: str, column: int, message: str) -> None:
    with pytest.raises(LogicSyntaxError) as caught:
        parse(_with(section, statement))
    assert (caught.value.line, caught.value.column) == (3, column)
    assert str(caught.value).startswith(f"line 3, column {column}: ")
    assert message in str(caught.value)
    assert len(str(caught.value)) < 150


def test_only_what_looks_like_a_rule_in_another_section_is_sent_to_rules() -> None:
    with pytest.raises(LogicSyntaxError) as caught:
        parse("Rules:\nA(b, True) >>> A(c, True) >>> A(d, True)\nQuery:\nA(b, True)")
    assert "found '>>>'" in str(caught.value) and "belongs under" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "place", "message"),
    [
        ("", (1, 1), "there is no 'Query:'; the program must end with one query"),
        ("Facts:\nA(b, True)\n", (3, 1), "there is no 'Query:'"),
        ("Query:\n", (2, 1), "'Query:' is empty"),
        ("Query: A(b, True)", (1, 1), "one of Predicates: Facts: Rules: Query:, alone on its line, found 'Q"),
        ("A(b, True)", (1, 1), "expected a heading"),
        ("Query:\nA(b, True)\n\nA(c, True)", (4, 1), "a second query"),
        ("Query:\nA(b, True)\nQuery:\nA(b, True)", (3, 1), "Query: occurs twice"),
        ("Rules:\n  Facts:\nQuery:\nA(b, True)", (2, 3), "Facts: must come before Rules:"),
        ("facts:\nQuery:\nA(b, True)", (1, 1), "expected a heading"),
        ("Conclusion:\nQuery:\nA(b, True)", (1, 1), "found 'Conclusion'"),
        ("Query:\rA(b, True)", (1, 7), "the character U+000D is not allowed"),
        ("Query:\r\r\nA(b, True)", (1, 7), "the character U+000D is not allowed"),
        ("Query:\u2028A(b, True)", (1, 7), "the character U+2028 is not allowed"),
        ("\ufeffQuery:\nA(b, True)", (1, 1), "the character U+FEFF is not allowed"),
        ("Query:\nA(b, True)\0", (2, 11), "the character U+0000 is not allowed"),
        ("Query:\nA(b, True) ::: \ud800", (2, 16), "the character U+D800 is not allowed"),
        ("Query:\nA(b, True)" + " " * MOST_TEXT, (1, 1), "longer than 65536 characters"),
        ("Facts:\n" + "A(b, True)\n" * 4097, (4098, 1), "more than 4096 statements"),
    ],
)
def test_errors_of_whole_programs(text: str, place: tuple[int, int], message: str) -> None:
    with pytest.raises(LogicSyntaxError) as caught:
        parse(text)
    assert (caught.value.line, caught.value.column) == place
    assert message in str(caught.value)


def test_messages_are_one_line_and_do_not_repeat_long_words() -> None:
    for text in ("Facts:\nA(" + "b" * 60_000, "Facts:\n" + "A" * 60_000, "Facts:\n" + "é" * 60_000):
        with pytest.raises(LogicSyntaxError) as caught:
            parse(text)
        assert len(str(caught.value)) < 150
        assert "\n" not in str(caught.value)
