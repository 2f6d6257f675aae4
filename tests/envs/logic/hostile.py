"""Five hundred hostile texts, each with the kinds of outcome it may have.

`CANARY` in a text stands for a file that must not appear. The attacks are those that work on the authors'
way, where the text is pasted into Pyke's sources, and those on whoever has to read and run such a text.
"""

import random
from collections.abc import Iterator
from dataclasses import dataclass

COUNT = 500
_ANY = frozenset({"correct", "wrong", "error", "timeout", "invalid", "vacuous"})
_INVALID = frozenset({"invalid"})
_RUNS = frozenset({"correct", "wrong", "vacuous"})
_STOPPED = frozenset({"timeout", "error"})

GOOD = """\
Predicates:
Blue($x, bool) ::: Is x blue?
Likes($x, $y, bool) ::: Does x like y?
Facts:
Blue(Anne, True) ::: Anne is blue.
Likes(Anne, Bob, False) ::: Anne does not like Bob.
Rules:
Blue($x, True) && Likes($x, Bob, False) >>> Likes(Bob, $x, True) ::: Bob likes who does not like him.
Query:
Likes(Bob, Anne, True) ::: Bob likes Anne.
"""
_CODE = "python open('CANARY', 'w').close()"

# What one reader takes for the end of a line, or does not see at all.
_CHARACTERS = (
    "\r",
    "\n\r",
    "\x0c",
    "\x0b",
    "\0",
    "\x1c",
    "\x1d",
    "\x1e",
    "\x85",
    "\u2028",
    "\u2029",
    "\x1a",
    "\x1b[2K",
    "\b",
    "\x7f",
    "\ufeff",
    "\u200b",
    "\u202e",
    "\u00ad",
    "\ud800",
)
# Where it stands; `@` is the character with the code behind it.
_PLACES = (
    ("Blue(Anne, True) :::", "Blue(Anne, True)@ :::"),
    ("Anne is blue.", "Anne is@ blue."),
    ("Facts:", "Facts:@"),
    ("Blue($x, True) &&", "Blue($x, True)@ &&"),
    ("Likes(Bob, $x, True)", "Likes(Bob, $x@, True)"),
    (">>>", "@>>>"),
    ("Bob likes Anne.", "Bob likes Anne.@"),
)

# Lines of Pyke's own language.
_PYKE = (
    _CODE,
    "python\n\topen('CANARY', 'w').close()",
    "check open('CANARY', 'w')",
    "$y = open('CANARY', 'w')",
    "$y in [open('CANARY', 'w')]",
    "($y, $z) = (1, open('CANARY', 'w'))",
    "fc_extras\n\topen('CANARY', 'w').close()",
    "bc_extras\n\topen('CANARY', 'w').close()",
    "plan_extras\n\topen('CANARY', 'w').close()",
    "extending facts",
    "use Likes($x, $y) taking (open('CANARY', 'w'))",
    "when\n\tfacts.Blue($x, True)",
    "with\n\topen('CANARY', 'w').close()",
    "notany\n\tcheck open('CANARY', 'w')",
    "forall\n\tfacts.Blue($x)\n    require\n\tcheck open('CANARY', 'w')",
    "first facts.Blue($x)",
    "!facts.Blue($x)",
    "special.command($y, ('touch', 'CANARY'))",
    "special.claim_goal()",
    "foreach\n\tfacts.Blue($x, True)\n    assert\n\tfacts.Blue($x, False)",
    "facts.Blue($x, True)",
    "step open('CANARY', 'w')",
    "as $$(open('CANARY', 'w'))",
    "rule1",
    "taking (open('CANARY', 'w'))",
)
_PYKE_PLACES = (
    ("Rules:", "Rules:\n@"),
    ("Facts:", "Facts:\n@"),
    (">>> Likes(Bob, $x, True)", ">>> Likes(Bob, $x, True)\n@"),
    ("Query:", "Query:\n@"),
)

# Where a word is expected.
_WORDS = (
    "$",
    "$$",
    "$$x",
    "$(x)",
    "${x}",
    "$x.y",
    "$x[0]",
    "*$rest",
    "$1",
    "$x$y",
    "%s",
    "{x}",
    "{x.__class__}",
    "\\x41",
    "\\n",
    "\\",
    "`id`",
    "'a'",
    '"a"',
    "'''a",
    "f'{open(1)}'",
    "b'a'",
    "(a, b)",
    "[a]",
    "{a}",
    "()",
    "lambda: 0",
    "a.b",
    "a=b",
    "a;b",
    "a#b",
    "a\tb",
    "-1",
    "1e9",
    "0x41",
    "None()",
    "...",
    "__import__('os').system('touch CANARY')",
    "open('CANARY', 'w')",
    "exec(CANARY)",
    "a:::b",
    "a>>>b",
    "a&&b",
    "\u0410nne",
    "\ufb01",
    "\U0001d400nne",
    "Anne’s",
)
_WORD_PLACES = ("Blue(Anne, True)", "Blue($x, True) && L", "Likes(Bob, Anne, True)")
# Odd, and yet words of the language: they are names and nothing else.
_NAMES = (
    "__import__",
    "__class__",
    "exec",
    "open",
    "None",
    "python",
    "check",
    "fc_extras",
    "bool",
    "_",
    "lambda",
)


@dataclass(frozen=True)
class Hostile:
    name: str
    text: str
    kinds: frozenset[str]


def hostile_texts() -> list[Hostile]:
    found = [*_lines(), *_pyke(), *_words(), *_headings(), *_large(), *_endless(), *_nested()]
    return [*found, *_damaged(COUNT - len(found))]


def _lines() -> Iterator[Hostile]:
    for character in _CHARACTERS:
        for number, (before, after) in enumerate(_PLACES):
            smuggled = after.replace("@", f"{character}\t{_CODE}{character}")
            text = GOOD.replace(before, smuggled, 1)
            yield Hostile(f"{character!a} at place {number}", text, _INVALID)


def _pyke() -> Iterator[Hostile]:
    for line in _PYKE:
        for number, (before, after) in enumerate(_PYKE_PLACES):
            text = GOOD.replace(before, after.replace("@", line), 1)
            yield Hostile(f"{line[:12]!r} at place {number}", text, _INVALID)


def _words() -> Iterator[Hostile]:
    for word in _WORDS:
        for number, place in enumerate(_WORD_PLACES):
            argument = "$x" if number == 1 else "Anne"
            text = GOOD.replace(place, place.replace(argument, word, 1), 1)
            yield Hostile(f"the word {word!r} at place {number}", text, _INVALID)
    for name in _NAMES:
        yield Hostile(f"the name {name}", GOOD.replace("Anne", name).replace("Blue", name), _RUNS)
        yield Hostile(f"the variable ${name}", GOOD.replace("$x", f"${name}"), frozenset({"correct"}))


def _headings() -> Iterator[Hostile]:
    for heading in ("Predicates:", "Facts:", "Rules:", "Query:"):
        yield Hostile(f"{heading} twice", GOOD.replace(heading, f"{heading}\n{heading}"), _INVALID)
        yield Hostile(f"{heading} at the end", f"{GOOD}{heading}\n", _INVALID)
        yield Hostile(f"{heading} misspelt", GOOD.replace(heading, heading.lower()), _INVALID)
        yield Hostile(f"{heading} with a statement", GOOD.replace(f"{heading}\n", f"{heading} "), _INVALID)
        glossed = GOOD.replace("Anne is blue.", f"{heading} ::: {_CODE}")
        yield Hostile(f"{heading} in a gloss", glossed, frozenset({"correct"}))


def _large() -> Iterator[Hostile]:
    size = 10_000_000
    for unit in (
        "a",
        "\n",
        " ",
        "(",
        "$",
        "`",
        "```",
        "```\n",
        "\r",
        ":::",
        "&&",
        ">>>",
        "é",
        "Query:\n",
        "Blue(Anne, True)\n",
    ):
        yield Hostile(f"10 MB of {unit!r}", unit * (size // len(unit)), _INVALID)
    rule = "Blue($x, True) >>> Green($x, True)\n"
    yield Hostile("100,000 rules", GOOD.replace("Query:", rule * 100_000 + "Query:"), _INVALID)
    yield Hostile("100,000 facts", GOOD.replace("Rules:", "Blue(a, True)\n" * 100_000 + "Rules:"), _INVALID)
    yield Hostile("a gloss of 10 MB", GOOD + " ::: " + "x" * size, _INVALID)
    yield Hostile("a name of 1 MB", GOOD.replace("Anne", "A" * 1_000_000), _INVALID)
    yield Hostile("4,000 empty fences", "```\n```\n" * 4000 + GOOD, _INVALID)
    yield Hostile("4,000 facts", GOOD.replace("Rules:", "B(a, True)\n" * 4000 + "Rules:"), _RUNS)
    yield Hostile("1,500 rules", GOOD.replace("Query:", rule * 1500 + "Query:"), _RUNS)
    yield Hostile("60,000 blank lines", GOOD.replace("Rules:", "\n" * 60_000 + "Rules:"), _RUNS)


def _endless() -> Iterator[Hostile]:
    """Theories that grow, or whose rules are tried, beyond any limit."""
    many = "\n".join(f"N(c{n}, True)" for n in range(60))
    names = [f"$v{n}" for n in range(8)]
    for arity in range(4, 9):
        premises = " && ".join(f"N({name}, True)" for name in names[:arity])
        grown = f"{premises} >>> All({', '.join(names[:arity])}, True)"
        yield Hostile(f"all {arity}-tuples", _theory(many, grown), _STOPPED)
        tried = f"{premises} && Never({names[0]}, True) >>> M(c0, True)"
        reached = f"{premises} >>> M(c0, True)"
        yield Hostile(f"{arity} premises tried in vain", _theory(many, tried), _ANY - {"invalid"})
        yield Hostile(f"{arity} premises for one conclusion", _theory(many, reached), _STOPPED)
    swap = ", ".join(names[1:] + names[:1])
    turn = f"T({', '.join(names)}, True) && N({names[0]}, True) >>> T({swap}, True)"
    start = f"{many}\nT({', '.join(f'c{n}' for n in range(8))}, True)"
    yield Hostile("turning in a circle", _theory(start, turn), _RUNS)
    pair = "N($x, True) && N($y, True) >>> R($x, $y, True)"
    close = "R($x, $y, True) && R($y, $z, True) >>> R($z, $x, True)"
    yield Hostile("closing all pairs", _theory(many, f"{pair}\n{close}"), _STOPPED)
    flip = "N($x, True) >>> N($x, False)\nN($x, False) >>> N($x, True)"
    yield Hostile("contradiction in a loop", _theory(many, flip), _RUNS)
    chain = "\n".join(f"P{n}($x, True) >>> P{n + 1}($x, True)" for n in range(1600))
    yield Hostile("a chain of 1,600 rules", _theory("P0(c0, True)", chain, "P1600(c0, True)"), _RUNS)
    absent = "\n".join(f"P{n}($x, False) >>> P{n + 1}($x, True)" for n in range(1500))
    yield Hostile(
        "a chain of 1,500 negations", _theory("P0(c0, True)", absent, "P1500(c0, True)"), _ANY - {"invalid"}
    )


def _theory(facts: str, rules: str, query: str = "N(c0, True)") -> str:
    return f"Facts:\n{facts}\nRules:\n{rules}\nQuery:\n{query}\n"


def _nested() -> Iterator[Hostile]:
    for depth in (2, 100, 10_000, 60_000, 1_000_000):
        for name, text in (
            ("parentheses", "(" * depth),
            ("atoms", "Blue(" * depth + "Anne" + ", True)" * depth),
            ("brackets", "Blue(" + "[" * depth + "]" * depth + ", True)"),
            ("premises", "Blue($x, True) && " * depth + "(Blue($x, True))"),
            ("arrows", "Blue($x, True) >>> " * depth + "Blue($x, True)"),
        ):
            yield Hostile(f"{depth} nested {name}", GOOD.replace("Rules:", f"Rules:\n{text}"), _INVALID)


def _damaged(count: int) -> Iterator[Hostile]:
    """A good program with characters replaced, removed or doubled, or cut off."""
    random_ = random.Random(0)
    letters = "$(),:>&\n\r\t\0 aT\u2028é"
    for number in range(count):
        text = GOOD
        for _ in range(random_.randrange(1, 4)):
            place = random_.randrange(len(text))
            change = random_.choice(("", random_.choice(letters), text[place] * 2, text[place:][::-1][:8]))
            text = text[:place] + change + text[place + 1 :]
        yield Hostile(f"damaged {number}", text if number % 4 else text[: random_.randrange(len(text))], _ANY)
