"""What a story template of the generated word problems is, and how its arithmetic is evaluated exactly.

Placeholders in a story's text:

    {name} {name2} {fruit+} …   a word of that pool (`words.POOLS`); "+": plural; a digit: another one
    {n1} {n2} …                 an operand of ordinary size
    {k1} {k2} …                 a small operand: a count of boxes, days, friends
    {t1}, or a redrawn {n2}     an operand given by `let`, usually to make a division exact

`let` may also use q1, q2 …: hidden quotients, which the question never prints.
"""

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from types import MappingProxyType


class InexactError(ValueError):
    """These operands give a negative value or a division with a remainder somewhere in the story."""


@dataclass(frozen=True, eq=False)  # compared and hashed as the one object it is
class Story:
    """One template: `kind` of reasoning, `text` with placeholders, `answer` as arithmetic over operands."""

    kind: str
    text: str
    answer: str
    let: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))

    @cached_property
    def steps(self) -> int:
        """How many operations the answer takes: 1 to 4."""
        return sum(isinstance(node, ast.BinOp) for node in ast.walk(parsed(self.answer)))


@cache
def parsed(expression: str) -> ast.expr:
    """The syntax tree of an arithmetic expression over names, + - * / and parentheses."""
    return ast.parse(expression, mode="eval").body


def evaluate(expression: str, values: Mapping[str, int]) -> int:
    """The exact value. Raises InexactError where any intermediate value is negative or not an integer.

    evaluate("(n1 - n2) / k1", {"n1": 14, "n2": 2, "k1": 3}) is 4.
    """
    return _evaluate(parsed(expression), values)


def _evaluate(node: ast.expr, values: Mapping[str, int]) -> int:
    if isinstance(node, ast.Name):
        return values[node.id]
    if not isinstance(node, ast.BinOp):
        raise TypeError(f"a story's arithmetic may hold names and + - * / only, not {ast.dump(node)}")
    left, right = _evaluate(node.left, values), _evaluate(node.right, values)
    match node.op:
        case ast.Add():
            return left + right
        case ast.Mult():
            return left * right
        case ast.Sub() if left >= right:
            return left - right
        case ast.Div() if right > 0 and left % right == 0:
            return left // right
    raise InexactError(f"{ast.unparse(node)} with {left} and {right}")


def operands(expression: str) -> set[str]:
    """The names an expression uses: operands("k1 * n1 + n2") is {"k1", "n1", "n2"}."""
    return {node.id for node in ast.walk(parsed(expression)) if isinstance(node, ast.Name)}
