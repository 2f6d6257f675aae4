"""The prompts: one boundary for every purpose, and a way there and back between completions and programs."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import envs
from envisions_jax.demonstrations import (
    LOGIC_DEMONSTRATIONS,
    MATH_DEMONSTRATIONS,
    Demonstration,
    gold_program,
)
from envisions_jax.prompts import STYLES, PromptError, Prompts
from envisions_jax.tasks import load
from envisions_jax.tasks.theories import TheorySettings
from envisions_jax.tasks.theory_words import VOCABULARIES
from envisions_jax.tasks.words import POOLS, SPLITS
from envs.logic.language import parse

TASK = envs.Task("t/1", "Ann has 3 pens and buys 4 more. How many pens does Ann have?", 7, meta={"page": "p"})
COMPLETIONS = {
    "expression": (" 3 + 4", "result = 3 + 4"),
    "function": (" 3 + 4", "def solution():\n    return 3 + 4"),
    "pal": ("\ndef solution():\n    return 3 + 4", "def solution():\n    return 3 + 4"),
    "web": ("\nagent.type('3 + 4')\nagent.press('tab')", "agent.type('3 + 4')\nagent.press('tab')"),
    "logic": (
        "\nFacts:\nRed(Ann, True)\nQuery:\nRed(Ann, True)",
        "Facts:\nRed(Ann, True)\nQuery:\nRed(Ann, True)",
    ),
    "logic_short": ("\nQuery:\nRed(Ann, False)", "Query:\nRed(Ann, False)"),
}
every_style = pytest.mark.parametrize("style", STYLES)
GARBAGE = st.text() | st.text(alphabet="`<\n\r python=:+34 \t\x0b\x0c\x1c\u2028", max_size=60)


def prompts_of(style: str) -> Prompts:
    """Prompts that have three demonstrations for TASK; those of the web are by page."""
    if style.startswith("logic"):
        theories = [f"{name} is red.\nIs it true that {name} is big?" for name in ("Lea", "Sven", "Nils")]
        return Prompts(
            style, [Demonstration(asked, "Unknown", {style: "Query:\nBig(A, True)"}) for asked in theories]
        )
    if style != "web":
        return Prompts(style)
    pages = ("first", "second", "third")
    shown = [Demonstration(f"Type on the {page} page.", 1, {"web": "agent.type('x')"}) for page in pages]
    return Prompts("web", {"p": shown, "q": shown[::-1]})


@every_style
def test_prompts_end_where_completions_start(style: str) -> None:
    """Explore (with or without demonstrations) and refine end alike, and never in white space."""
    prompts = prompts_of(style)
    opening = "\n" + prompts.style.opening
    candidate = prompts.program(COMPLETIONS[style][0])
    for prompt in (prompts.explore(TASK), prompts.explore(TASK, 3), prompts.refine(TASK, candidate)):
        assert prompt.endswith(opening) and not prompt[-1].isspace()
        assert prompt.count(TASK.question) == 1
        assert str(TASK.answer) not in prompt.replace("for 7 dollars", "").replace("price = 7", "").replace(
            "3 * 7", ""
        )


@every_style
def test_few_shot_is_zero_shot_with_demonstrations_in_between(style: str) -> None:
    prompts = prompts_of(style)
    zero, few = prompts.explore(TASK), prompts.explore(TASK, 3)
    instruction, task_part = zero.split("\n\n", 1)
    assert few.startswith(instruction + "\n\n") and few.endswith("\n\n" + task_part)
    assert few.count(prompts.style.answer + prompts.style.opening) == 4
    assert few.startswith(prompts.explore(TASK, 2)[: -len(task_part)])


@every_style
def test_all_prompts_of_a_stage_share_everything_before_the_question(style: str) -> None:
    prompts = prompts_of(style)
    other = envs.Task("t/2", "Why?", 1, meta=TASK.meta)
    before = prompts.explore(TASK, 3).index(TASK.question)
    assert prompts.explore(TASK, 3)[:before] == prompts.explore(other, 3)[:before]
    candidate = prompts.program(COMPLETIONS[style][0])
    before = prompts.refine(TASK, candidate).index(TASK.question)
    assert prompts.refine(TASK, candidate)[:before] == prompts.refine(other, candidate)[:before]


@every_style
def test_a_refinement_prompt_carries_the_candidate(style: str) -> None:
    prompts = prompts_of(style)
    _, program = COMPLETIONS[style]
    assert prompts.refine(TASK, program).count(program) == 1
    assert prompts.refine(TASK, prompts.program("")).endswith(prompts.style.opening)
    with pytest.raises(PromptError, match="not a program of style"):
        prompts.refine(TASK, "```\nprose\n```")


@every_style
def test_completion_and_program_undo_each_other(style: str) -> None:
    prompts = prompts_of(style)
    completion, program = COMPLETIONS[style]
    assert prompts.program(completion) == program
    assert prompts.completion(program) == completion
    assert prompts.program("") == prompts.style.program_head
    assert prompts.completion(prompts.program("")) == ""


@every_style
@given(text=GARBAGE)
@example(text="```python\nx = 1")
@example(text="Sure! Here is the code:\n```python\nresult = 1\n```\nDone.")
@example(text="x" * 100_000)
@example(text="\x00\r\n\u2028```")
def test_any_text_makes_a_program_and_its_completion_is_stable(style: str, text: str) -> None:
    prompts = prompts_of(style)
    program = prompts.program(text)
    completion = prompts.completion(program)
    assert prompts.program(completion) == program == prompts.canonical(program)
    assert prompts.completion(prompts.program(completion)) == completion
    assert not any(stop in completion for stop in prompts.stop)
    assert not completion or completion.startswith(prompts.style.lead)
    assert prompts.refine(TASK, program).endswith(prompts.style.opening)


@every_style
@given(text=GARBAGE)
def test_canonical_is_idempotent(style: str, text: str) -> None:
    prompts = prompts_of(style)
    assert prompts.canonical(prompts.canonical(text)) == prompts.canonical(text)


@pytest.mark.parametrize(
    ("one", "other"), [("a = 1 \r\nb = 2\n", "a = 1\nb = 2"), ("\n\nresult = 3\n", "result = 3")]
)
def test_canonical_sees_through_line_ends(one: str, other: str) -> None:
    assert Prompts("pal").canonical(one) == other


@pytest.mark.parametrize(
    ("style", "text", "program"),
    [
        ("expression", "3+4", "result = 3+4"),
        ("expression", " 3 + 4  # pens\nQuestion: …", "result = 3 + 4  # pens"),
        ("expression", "\n 3 + 4", "result ="),
        ("function", "  7\n\nprint(1)", "def solution():\n    return 7"),
        (
            "pal",
            "\nimport math\n\ndef solution():\n    return 7\n```\nThis works.",
            "import math\n\ndef solution():\n    return 7",
        ),
        ("pal", "\n```python\nx = 1\n```\n```python\ny = 2\n```", "x = 1"),
        ("pal", "\ndef solution():\n    return 7", "def solution():\n    return 7"),
        (
            "web",
            "\nagent.type('x')\n# look again\nagent.press('tab')\n\nPage:",
            "agent.type('x')\n# look again\nagent.press('tab')",
        ),
        ("web", "\nagent.type('x')\n<a>Submit</a>\nagent.type('y')", "agent.type('x')"),
        ("web", "Sure:\n```\nagent.type('x')\n```", "Sure:"),
        ("web", "\n```python\nagent.type('x')\n```", "agent.type('x')"),
        ("web", "<p>Click here</p>", ""),
        (
            "logic",
            "\nFacts:\nA(b, True) ::: x\nQuery:\nA(b, True)\nFacts:",
            "Facts:\nA(b, True) ::: x\nQuery:\nA(b, True)",
        ),
        ("logic", "\n```\nQuery:\nA(b, True)\n```", "Query:\nA(b, True)"),
        ("logic", "\nFacts:\nA(b, True)\n\nQuery:\nA(b, True)", "Facts:\nA(b, True)"),
        ("logic_short", "\nQuery:", "Query:"),
        ("logic", "\nQuery: ::: so\nA(b, True)\nB(c, True)", "Query: ::: so\nA(b, True)"),
        ("logic_short", "Sure:\nQuery: A(b, True)\nB(c, True)", "Sure:\nQuery: A(b, True)\nB(c, True)"),
    ],
)
def test_what_a_model_writes_becomes_its_program(style: str, text: str, program: str) -> None:
    assert Prompts(style).program(text) == program


@pytest.mark.parametrize("style", ["logic", "logic_short"])
@pytest.mark.parametrize("engine", ["pyke", "forward"])
def test_the_demonstration_of_logic_is_right_and_shows_the_language(style: str, engine: str) -> None:
    prompts, [shown] = Prompts(style), LOGIC_DEMONSTRATIONS
    text = prompts.program(prompts.style.lead + shown.bodies[style])
    task = envs.Task("d", shown.question, shown.answer, meta={"world": "open"})
    with envs.make("logic", engine=engine, workers=1) as environment:
        [outcome] = environment.execute([(task, text)])
    assert (outcome.kind, outcome.error) == ("correct", "")
    program = parse(text)
    atoms = [
        *program.facts,
        *(atom for rule in program.rules for atom in (*rule.premises, *rule.conclusions)),
    ]
    for some in (program.facts, atoms):
        assert {(len(atom.arguments), atom.value) for atom in some} >= {(1, True), (1, False), (2, True)}
    assert any(len(atom.arguments) == 2 and not atom.value for atom in atoms)
    assert all(len(rule.premises) == 2 for rule in program.rules)
    assert text in prompts.explore(task, 1) and (":::" in text) == (style == "logic")
    assert shown.question in prompts.explore(task, 1)


@pytest.mark.parametrize(
    ("world", "asked"), [("open", "true, false, or unknown?"), ("closed", "true or false?")]
)
def test_the_demonstration_asks_the_question_of_its_world(world: str, asked: str) -> None:
    [task] = load("theories", limit=1, settings=TheorySettings(world=world))
    assert Prompts("logic").explore(task, 1).count(f"following statement {asked}") == 2
    [shown] = LOGIC_DEMONSTRATIONS
    text = shown.bodies["logic"]
    with envs.make("logic", engine="forward") as environment:
        [outcome] = environment.execute([(envs.Task("d", "", shown.answer, meta={"world": world}), text)])
    assert outcome.correct


def test_the_demonstration_of_logic_uses_no_word_of_the_generated_theories() -> None:
    [shown] = LOGIC_DEMONSTRATIONS
    words = {word for one in VOCABULARIES.values() for group in vars(one).values() for word in group}
    found = set(re.findall(r"\w+", shown.question))
    assert not words & (found | {word.removesuffix("s") for word in found})


@pytest.mark.parametrize("style", [style for style in STYLES if style != "web"])
def test_gold_programs_of_generated_tasks_are_right(style: str) -> None:
    is_logic = style.startswith("logic")
    tasks = load("theories" if is_logic else "generated", limit=4)
    prompts = Prompts(style)
    runs = [(task, prompts.program(prompts.completion(gold_program(task, style)))) for task in tasks]
    with envs.make("logic" if is_logic else "python", workers=1) as environment:
        assert [outcome.kind for outcome in environment.execute(runs)] == ["correct"] * 4
    with pytest.raises(ValueError, match="no gold program in style"):
        gold_program(tasks[0], "expression" if is_logic else "logic")


@pytest.mark.parametrize("style", ["expression", "function", "pal"])
def test_demonstrations_are_right(style: str) -> None:
    prompts = Prompts(style)
    runs = [
        (
            envs.Task(str(i), shown.question, shown.answer),
            prompts.program(prompts.style.lead + shown.bodies[style]),
        )
        for i, shown in enumerate(MATH_DEMONSTRATIONS)
    ]
    with envs.make("python", workers=1) as environment:
        assert [outcome.kind for outcome in environment.execute(runs)] == ["correct"] * 3


def test_demonstrations_use_no_name_of_the_generated_problems() -> None:
    names = {name for split in SPLITS for name, _ in POOLS[split]["name"]}
    for demonstration in MATH_DEMONSTRATIONS:
        assert not names & set(re.findall(r"\w+", demonstration.question))


def test_context_comes_before_the_question() -> None:
    task = envs.Task("t/3", "Who?", 1, context="The cow is blue.\n")
    assert "The cow is blue.\nWho?\n" in Prompts().explore(task)


@pytest.mark.parametrize("shots", [-1, 4])
def test_more_shots_than_demonstrations_is_an_error(shots: int) -> None:
    with pytest.raises(PromptError, match=f"shots is {shots}"):
        Prompts().explore(TASK, shots)


def test_an_unknown_style_is_an_error() -> None:
    with pytest.raises(
        PromptError, match="'haiku', must be one of expression, function, pal, web, logic, logic_short"
    ):
        Prompts("haiku")


def test_on_the_web_each_page_has_its_own_demonstrations() -> None:
    prompts, other = prompts_of("web"), envs.Task("t/4", "Click.", 1, meta={"page": "q"})
    assert "first page" in prompts.explore(TASK, 1) and "first page" not in prompts.explore(other, 1)
    with pytest.raises(PromptError, match="task t/5 has 0 to 0 demonstrations"):
        prompts.explore(envs.Task("t/5", "Click.", 1, meta={"page": "unknown"}), 1)
