"""The language of web programs: lines of `agent.click_xpath("…")` and the like, read but never run as Python.

A program is parsed with `ast` and unrolled into a list of actions before the page sees any of them, so that
a program that is not of the language does nothing at all. The language, after the authors' (paper, appendix;
their programs are Python that is `exec`-ed):

    agent.click_xpath(xpath)    agent.click_option(xpath)    agent.movemouse(xpath)
    agent.type(text)            agent.press(key)
    for name in [literal, …]:   for name in range(…):        (loops nest, within a budget)

An argument is a string or number literal, a loop's name, an f-string of such names, or strings joined by `+`.
Comments, blank lines and a fenced block around the program are fine. There is nothing else.

The comment `# look again` on a line of its own parts the turns of a closed loop: what follows it was written
with a new view of the page. To the page the whole is one program.
"""

import ast
import difflib
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from types import MappingProxyType
from typing import Literal

from envs.programs import extract_program

ActionKind = Literal["click_xpath", "click_option", "movemouse", "type", "press"]

# The one parameter of each action, by the name it may be given as.
PARAMETERS: Mapping[str, str] = MappingProxyType(
    {"click_xpath": "xpath", "click_option": "xpath", "movemouse": "xpath", "type": "text", "press": "key"}
)
# What a program may press → the browser's name for it. "command" is the authors' word for the control key.
KEYS: Mapping[str, str] = MappingProxyType(
    {"enter": "Enter", "space": "Space", "tab": "Tab", "escape": "Escape", "home": "Home", "end": "End"}
    | {"backspace": "Backspace", "delete": "Delete"}
    | {f"arrow{side}": f"Arrow{side.capitalize()}" for side in ("left", "right", "up", "down")}
    | {f"{control}+{key}": f"Control+{key}" for control in ("command", "control", "ctrl") for key in "acvx"}
)
COPYING = ("Control+c", "Control+x")  # those that write to the clipboard

MOST_TEXT = 20_000  # characters of a program
MOST_ARGUMENT = 2_000  # characters of one argument: a browser types about 800 a second
MOST_ACTIONS = 200
MOST_ROUNDS = 1_000  # rounds of all loops together
_MOST_SHOWN = 100  # characters of an argument, where an action is told of

NEXT_TURN = "# look again"
_BYTE_ORDER_MARK = "\ufeff"  # which some editors put before a text


class ProgramError(ValueError):
    """A text that is no program of this language; the message names the line and what is wrong there."""


@dataclass(frozen=True)
class Action:
    """One thing done to a page. `line` is that of the program it comes from, counted from 1.

    As text it is what the program says, its argument cut if it is very long.
    """

    kind: ActionKind
    argument: str
    line: int

    def __str__(self) -> str:
        argument = self.argument
        if len(argument) > _MOST_SHOWN:
            argument = f"{argument[:_MOST_SHOWN]}…"
        return f"agent.{self.kind}({argument!r})"


def read_program(text: str) -> list[Action]:
    """The actions of a program, loops unrolled. Raises ProgramError; never runs anything."""
    if len(text) > MOST_TEXT:
        raise ProgramError(f"a program has at most {MOST_TEXT} characters, this one {len(text)}")
    try:
        statements = _parse(extract_program(text.lstrip(_BYTE_ORDER_MARK)))
        actions = list(islice(_Unrolled().block(statements, {}), MOST_ACTIONS + 1))
    except RecursionError:
        raise ProgramError("it is nested too deeply") from None
    if len(actions) > MOST_ACTIONS:
        raise ProgramError(f"line {actions[-1].line}: a program has at most {MOST_ACTIONS} actions")
    if not actions:
        raise ProgramError("there is no action in it, such as agent.click_xpath(…)")
    return actions


def join_turns(turns: Sequence[str]) -> str:
    """The program that does what is done in each turn, one after the other.

    A mark that a turn has in itself is dropped: nobody looked there.

    >>> join_turns(["agent.press('tab')", "# look again\\nagent.type('a')"])
    "agent.press('tab')\\n# look again\\nagent.type('a')"
    """
    own = ([line for line in turn.split("\n") if line.strip() != NEXT_TURN] for turn in turns)
    return f"\n{NEXT_TURN}\n".join("\n".join(lines).strip() for lines in own)


def split_turns(program: str) -> list[str]:
    """The turns of a program, one if it has no mark. Undoes `join_turns`."""
    turns: list[list[str]] = [[]]
    for line in program.split("\n"):
        if line.strip() == NEXT_TURN:
            turns.append([])
        else:
            turns[-1].append(line)
    return ["\n".join(lines) for lines in turns]


def _parse(body: str) -> list[ast.stmt]:
    try:
        with warnings.catch_warnings():  # of doubtful literals, such as "\d"
            warnings.simplefilter("ignore")
            return ast.parse(body).body
    except SyntaxError as error:
        raise ProgramError(f"line {error.lineno or 1}: {error.msg}") from None
    except MemoryError:  # what the parser says of too many brackets
        raise RecursionError from None
    except ValueError as error:  # a NUL, a lone surrogate
        raise ProgramError(f"cannot be parsed: {error}") from None


Value = str | int | float
Names = Mapping[str, Value]


class _Unrolled:
    """Walks the statements of one program in the order in which they would run."""

    def __init__(self) -> None:
        self._rounds = 0

    def block(self, statements: list[ast.stmt], names: Names) -> Iterator[Action]:
        for statement in statements:
            if isinstance(statement, ast.Expr):
                yield _action(statement.value, names)
            elif isinstance(statement, ast.For):
                yield from self._loop(statement, names)
            else:
                raise _error(statement, "only agent actions and simple for loops are allowed")

    def _loop(self, loop: ast.For, names: Names) -> Iterator[Action]:
        if not isinstance(loop.target, ast.Name) or loop.orelse:
            raise _error(loop, "a loop has one name and no else: for x in [1, 2]:")
        for value in _values(loop.iter, names):
            self._rounds += 1
            if self._rounds > MOST_ROUNDS:
                raise _error(loop, f"the loops of a program go round {MOST_ROUNDS} times at most")
            yield from self.block(loop.body, {**names, loop.target.id: value})


def _values(node: ast.expr, names: Names) -> range | list[Value]:
    """What a loop goes over."""
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(item, names) for item in node.elts]
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "range":
        bounds = [_value(argument, names) for argument in node.args]
        whole = [bound for bound in bounds if type(bound) is int]
        if node.keywords or len(whole) != len(bounds) or not 1 <= len(bounds) <= 3 or bounds[2:] == [0]:
            raise _error(node, "range takes one to three whole numbers, and no step of 0")
        return range(*whole)
    raise _error(node, "a loop goes over a list of literals or a range")


def _action(node: ast.expr, names: Names) -> Action:
    function = node.func if isinstance(node, ast.Call) else None
    if not (
        isinstance(node, ast.Call)
        and isinstance(function, ast.Attribute)
        and isinstance(function.value, ast.Name)
        and function.value.id == "agent"
    ):
        raise _error(node, "every line is a call of agent, such as agent.click_xpath(…)")
    kind = _kind(function)
    parameter = PARAMETERS[kind]
    given = [*node.args, *(keyword.value for keyword in node.keywords if keyword.arg == parameter)]
    if len(given) != 1 or len(node.args) + len(node.keywords) != 1:
        raise _error(node, f"agent.{kind} takes one argument, {parameter}")
    argument = str(_value(given[0], names))
    if len(argument) > MOST_ARGUMENT:
        raise _error(node, f"an argument has at most {MOST_ARGUMENT} characters, this one {len(argument)}")
    if kind == "press" and argument.lower() not in KEYS:
        raise _error(node, f"there is no key {argument!r}{_near(argument.lower(), KEYS)}")
    return Action(kind, argument, node.lineno)


def _kind(function: ast.Attribute) -> ActionKind:
    for kind in ("click_xpath", "click_option", "movemouse", "type", "press"):
        if function.attr == kind:
            return kind
    raise _error(function, f"agent cannot {function.attr!r}{_near(function.attr, PARAMETERS)}")


def _value(node: ast.expr, names: Names) -> Value:
    """The value of an argument; see the module's docstring for what one may be."""
    literal = node.value if isinstance(node, ast.Constant) else None
    if isinstance(literal, str | int | float) and not isinstance(literal, bool):
        return _short(node, literal)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        number = _value(node.operand, names)
        if not isinstance(number, str):
            return -number
    if isinstance(node, ast.Name) and node.id in names:
        return names[node.id]
    if isinstance(node, ast.JoinedStr):
        return _short(node, "".join(str(_value(_inner(part), names)) for part in node.values))
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _value(node.left, names), _value(node.right, names)
        if isinstance(left, str) and isinstance(right, str):
            return _short(node, left + right)
    raise _error(node, "an argument is a text or a number, a loop's name, an f-string, or texts joined by +")


def _inner(part: ast.expr) -> ast.expr:
    """What stands in the braces of an f-string; formats are no part of the language."""
    if not isinstance(part, ast.FormattedValue):
        return part
    if part.conversion != -1 or part.format_spec is not None:
        raise _error(part, "an f-string has names alone in its braces")
    return part.value


def _short(node: ast.expr, value: Value) -> Value:
    """`value`, unless writing it out would take more than an argument may have: checked at each step."""
    size = len(value) if isinstance(value, str) else value.bit_length() // 4 if isinstance(value, int) else 0
    if size > MOST_ARGUMENT:
        raise _error(node, f"an argument has at most {MOST_ARGUMENT} characters")
    return value


def _near(word: str, known: Mapping[str, str]) -> str:
    near = difflib.get_close_matches(word[:50], known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else f"; choose from {', '.join(known)}"


def _error(node: ast.AST, what: str) -> ProgramError:
    return ProgramError(f"line {getattr(node, 'lineno', 1)}: {what}")
