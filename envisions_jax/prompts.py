"""ONE wording per purpose: the texts a model reads when it explores, refines, is trained and is tested.

A prompt and a completion meet at a boundary that is the same for explorations and refinements, so that a
refinement's completion is also one of the task prompt: self-reward and L1 need that (paper, eq. 1 and 4).

    style         a prompt ends in          a completion         its program
    expression    result =                  " 3 + 4"             result = 3 + 4
    function      def solution():…return    " 3 + 4"             the two lines of the function
    pal           ```python                 newline, function    the function, without a fence
    web           Actions:                  newline, actions     the actions, one a line
    logic         …program is:              newline, sections    Predicates, Facts, Rules, Query; with glosses
    logic_short   Program:                  newline, sections    Facts, Rules, Query; no glosses

No prompt ends in white space: newline and indent, or space and number, are often one token, which a prompt
must not cut in two (measured: with the wrong boundary no answer was right).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from envisions_jax.demonstrations import (
    LOGIC_DEMONSTRATIONS,
    MATH_DEMONSTRATIONS,
    Demonstration,
    of_closed_world,
)
from envisions_jax.program_text import EXTENTS, Extent, canonical_text
from envs import Task


class PromptError(ValueError):
    """A style, a number of demonstrations or a program that the prompts cannot serve."""


@dataclass(frozen=True)
class PromptStyle:
    """A layout that suits a family of models.

    explore, refine: what to do, first in the prompt, so that all prompts of a stage share it as a prefix.
    question, attempt, answer: what stands before the question, before the candidate, and before `opening`.
    opening: the end of the prompt; `program_head`: the part of it that belongs to the program.
    lead: what every non-empty completion starts with; `closing`: what follows a program inside a prompt.
    extent: what a program is: a line after its head, lines up to a blank one, those up to a query, or a block
        that a fence ends.
    stop: strings that end a generation; they are not part of the completion.
    """

    name: str
    explore: str
    refine: str
    question: str
    attempt: str
    answer: str
    opening: str
    program_head: str
    lead: str
    closing: str
    extent: Extent
    stop: tuple[str, ...]


def _one_line(name: str, head: str) -> PromptStyle:
    """The styles for small models: a program is its head and one expression, the task part is short."""
    return PromptStyle(
        name=name,
        explore="Answer each question with one line of Python.",
        refine="Answer each question with one line of Python: repeat the attempt or correct it.",
        question="Question: ",
        attempt="Attempt: ",
        answer="",
        opening=head,
        program_head=head,
        lead=" ",
        closing="",
        extent="line",
        stop=("\n",),
    )


_PAL = PromptStyle(
    name="pal",
    explore="Write Python code that solves the problem: a function solution() that returns the answer.",
    refine=(
        "You are given a problem and Python code for it. If the code has mistakes, write a corrected "
        "version; if it is right, write it again unchanged: a function solution() that returns the answer."
    ),
    question="The question is:\n",
    attempt="The current Python code is:\n",
    answer="The solution code is:\n",
    opening="```python",
    program_head="",
    lead="\n",
    closing="\n```",
    extent="block",
    stop=("\n```",),
)

_ACTIONS = (
    "Write one action a line: agent.click_xpath(xpath), agent.click_option(xpath), agent.movemouse(xpath), "
    "agent.type(text), agent.press(key)."
)
_WEB = PromptStyle(
    name="web",
    explore=f"Do each task on its web page. {_ACTIONS}",
    refine=f"Do each task on its web page: repeat the attempt or correct it. {_ACTIONS}",
    question="Page:\n",
    attempt="Attempt:\n",
    answer="",
    opening="Actions:",
    program_head="",
    lead="\n",
    closing="",
    extent="paragraph",
    stop=("\n\n", "\n<"),  # where `program_text.first_paragraph` ends
)

# A program has no blank line, so the first one ends it: a base model goes on with a theory of its own there.
_LOGIC = PromptStyle(
    name="logic",
    explore=(
        "Write the theory and the statement in question as a logic program: the sections Predicates, Facts, "
        "Rules and Query, one statement a line."
    ),
    refine=(
        "You are given a theory, a statement in question and a logic program for them. If the program has "
        "mistakes, write a corrected version; if it is right, write it again unchanged: the sections "
        "Predicates, Facts, Rules and Query, one statement a line."
    ),
    question="The theory and the question are:\n",
    attempt="The current attempt is:\n",
    answer="",
    opening="The logic program is:",
    program_head="",
    lead="\n",
    closing="",
    extent="query",
    stop=("\n\n",),
)
_LOGIC_SHORT = replace(
    _LOGIC,
    name="logic_short",
    explore="Write each theory and question as Facts, Rules and Query.",
    refine="Write each theory and question as Facts, Rules and Query: repeat the attempt or correct it.",
    question="",
    attempt="Attempt:\n",
    opening="Program:",
)

STYLES: Mapping[str, PromptStyle] = MappingProxyType(
    {
        "expression": _one_line("expression", "result ="),
        "function": _one_line("function", "def solution():\n    return"),
        "pal": _PAL,
        "web": _WEB,
        "logic": _LOGIC,
        "logic_short": _LOGIC_SHORT,
    }
)


class Prompts:
    """The prompts of one style, and the way between a completion's text and the program it makes.

    A *completion* is what the model writes (and is trained to write) after a prompt; a *program* is what the
    environment executes and the store keeps. `program` undoes `completion`, and makes a program of any text.
    """

    def __init__(
        self,
        style: str = "expression",
        demonstrations: Sequence[Demonstration] | Mapping[str, Sequence[Demonstration]] | None = None,
    ) -> None:
        """demonstrations: the same for every task, or for each page of the web or world of logic its own;
        None takes those of the style's domain, mathematics or logic.

        Raises PromptError for an unknown style, or a demonstration without a solution in this style.
        """
        if style not in STYLES:
            raise PromptError(f"prompt style is {style!r}, must be one of {', '.join(STYLES)}")
        self.style = STYLES[style]
        if demonstrations is None:
            demonstrations = _demonstrations_of(self.style)
        self._shared = () if isinstance(demonstrations, Mapping) else tuple(demonstrations)
        self._by_kind = dict(demonstrations) if isinstance(demonstrations, Mapping) else {}
        for demonstration in (*self._shared, *(one for own in self._by_kind.values() for one in own)):
            if style not in demonstration.bodies:
                raise PromptError(
                    f"the demonstration {demonstration.question!r} has no solution in style {style!r}"
                )

    def demonstrations(self, task: Task) -> tuple[Demonstration, ...]:
        """What may be shown before `task`."""
        kind = task.meta.get("page", task.meta.get("world"))
        return tuple(self._by_kind.get(str(kind), self._shared))

    @property
    def stop(self) -> tuple[str, ...]:
        """Strings that end a generation; what comes before them is the completion."""
        return self.style.stop

    def explore(self, task: Task, shots: int = 0) -> str:
        """The task prompt x: few-shot with `shots` demonstrations, zero-shot the same without them.

        Raises PromptError when there are fewer demonstrations than `shots`.
        """
        own = self.demonstrations(task) if shots else ()
        if not 0 <= shots <= len(own):
            raise PromptError(f"shots is {shots}, task {task.id} has 0 to {len(own)} demonstrations")
        shown = (
            self._asked(demonstration.question) + self._answered(demonstration.bodies[self.style.name])
            for demonstration in own[:shots]
        )
        return "\n\n".join((self.style.explore, *shown, self._asked(_problem(task)) + self._opened()))

    def refine(self, task: Task, candidate: str, error: str = "") -> str:
        """The refinement prompt [x, a]: the problem and a candidate program, not whether that is right.

        error: what the environment said of the candidate, one line; "" says nothing of it.

        Raises PromptError if `candidate` is not a program of this style.
        """
        style = self.style
        attempt = f"{style.attempt}{style.opening}{self.completion(candidate)}{style.closing}\n"
        told = f"What happened: {' '.join(error.split())}\n" if error.strip() else ""
        return f"{style.refine}\n\n{self._asked(_problem(task))}{attempt}{told}{self._opened()}"

    def program(self, text: str) -> str:
        """The program a completion makes. Total: prose and garbage make a program that does not run.

        program(" 3 + 4\\nQuestion:") is "result = 3 + 4" in the style "expression".
        """
        return self._with_head(EXTENTS[self.style.extent](text))

    def program_of(self, text: str) -> str:
        """The program a completion makes, in the form that is executed and stored."""
        return self.canonical(self.program(text))

    def completion(self, program: str) -> str:
        """The text that makes this program: what is trained on, before EOS.

        Raises PromptError for what is no program of this style.
        """
        body = canonical_text(program).removeprefix(self.style.program_head).strip()
        if self.program(body) != canonical_text(program):
            raise PromptError(f"not a program of style {self.style.name!r}: {program[:200]!r}")
        return self.style.lead + body if body else ""

    def canonical(self, program: str) -> str:
        """The form in which equal programs are the same text: a key for exact duplicates. Never raises."""
        return canonical_text(program)

    def _with_head(self, body: str) -> str:
        head = self.style.program_head
        return f"{head} {body}".rstrip() if head else body

    def _asked(self, question: str) -> str:
        return f"{self.style.question}{question}\n"

    def _opened(self) -> str:
        return self.style.answer + self.style.opening

    def _answered(self, body: str) -> str:
        return f"{self._opened()}{self.style.lead}{body}{self.style.closing}"


def _demonstrations_of(style: PromptStyle) -> Sequence[Demonstration] | Mapping[str, Sequence[Demonstration]]:
    if style.extent == "query":
        closed = tuple(map(of_closed_world, LOGIC_DEMONSTRATIONS))
        return {"open": LOGIC_DEMONSTRATIONS, "closed": closed}
    return () if style is _WEB else MATH_DEMONSTRATIONS


def _problem(task: Task) -> str:
    return f"{task.context.strip()}\n{task.question.strip()}".strip()
