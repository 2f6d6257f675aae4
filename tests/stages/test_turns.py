"""Turns of a closed loop: who goes on, what is written, and how a program falls into its turns again."""

from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from envisions_jax.prompts import Prompts
from envisions_jax.stages.turns import Interaction, Turn, completion_of, parted, play
from envs import Task
from envs.web.language import NEXT_TURN, join_turns, split_turns

PROMPTS = Prompts("web", {})
TASKS = [Task(name, f"Do {name}.", 1) for name in "abc"]


def press(key: str) -> str:
    return f"agent.press({key!r})"


class Counting:
    """An episode is over after as many turns as its task has; each look says how many there were."""

    def __init__(self, lengths: dict[str, int]) -> None:
        self.lengths = lengths
        self.asked: list[list[tuple[str, str]]] = []

    def go_on(self, programs: Sequence[tuple[Task, str]]) -> list[Task | None]:
        self.asked.append([(task.id, program) for task, program in programs])
        seen = [(task, len(split_turns(program))) for task, program in programs]
        return [
            Task(task.id, f"{task.id} after {turns}", 1) if turns < self.lengths[task.id] else None
            for task, turns in seen
        ]


def said(text: str) -> SimpleNamespace:
    return SimpleNamespace(text=text)


def test_those_whose_episode_is_not_over_go_on_with_what_they_see_then() -> None:
    world = Counting({"a": 1, "b": 2, "c": 9})
    heard: list[tuple[int, list[int], list[str]]] = []

    def say(number: int, indices: Sequence[int], tasks: Sequence[Task]) -> list[SimpleNamespace]:
        heard.append((number, list(indices), [task.question for task in tasks]))
        return [said(f"\n{press('end')}") for _ in indices]

    first = [Turn(task, said(f"\n{press('tab')}\n")) for task in TASKS]
    played = play(Interaction(3, world.go_on), PROMPTS, first, say)
    assert [len(turns) for turns in played] == [1, 2, 3]
    assert heard == [(2, [1, 2], ["b after 1", "c after 1"]), (3, [2], ["c after 2"])]
    assert world.asked[-1] == [
        ("b", join_turns([press("tab"), press("end")])),
        ("c", join_turns([press("tab"), press("end")])),
    ]
    assert [turn.task.question for turn in played[2]] == ["Do c.", "c after 1", "c after 2"]


def test_when_all_are_over_nobody_is_asked_again() -> None:
    world = Counting({"a": 1, "b": 1, "c": 1})
    play(Interaction(5, world.go_on), PROMPTS, [Turn(task, said("")) for task in TASKS], lambda *_: [])
    assert len(world.asked) == 1


def test_the_completion_of_one_turn_is_what_was_written_and_of_several_their_program() -> None:
    alone = Turn(TASKS[0], said(f"\n\n {press('tab')} \nprose"))
    assert completion_of([alone], PROMPTS) == alone.said.text
    several = completion_of([alone, Turn(TASKS[0], said(f"\n{press('end')}\n```\nprose"))], PROMPTS)
    turns = [f"{press('tab')}\nprose", press("end")]
    assert PROMPTS.program(several) == join_turns(turns)
    assert split_turns(PROMPTS.program(several)) == turns


def test_programs_fall_into_their_turns_with_what_was_seen_at_each() -> None:
    world = Counting({"a": 9, "b": 9, "c": 2})
    programs = [
        (TASKS[0], press("tab")),
        (TASKS[1], join_turns([press("tab"), press("end")])),
        (TASKS[2], join_turns([press("tab"), press("end"), press("home")])),  # the third cannot be seen
    ]
    found = parted(Interaction(3, world.go_on), programs)
    assert [[(task.question, program) for task, program in own] for own in found] == [
        [("Do a.", press("tab"))],
        [("Do b.", press("tab")), ("b after 1", press("end"))],
        [("Do c.", press("tab")), ("c after 1", press("end"))],
    ]
    assert len(world.asked) == 2


def test_in_an_open_loop_a_program_is_one_turn_whatever_it_says() -> None:
    program = join_turns([press("tab"), press("end")])
    assert parted(Interaction(), [(TASKS[0], program)]) == [[(TASKS[0], program)]]
    assert parted(Interaction(), []) == [] == parted(Interaction(2, Counting({}).go_on), [])


@pytest.mark.parametrize(
    ("turns", "program"),
    [
        (["a"], "a"),
        (["a", "b\nc"], f"a\n{NEXT_TURN}\nb\nc"),
        ([f"a\n  {NEXT_TURN} \nb", "c"], f"a\nb\n{NEXT_TURN}\nc"),
        (["a", ""], f"a\n{NEXT_TURN}\n"),
    ],
)
def test_a_mark_parts_turns_and_nobody_else_can_write_it(turns: list[str], program: str) -> None:
    assert join_turns(turns) == program
    assert len(split_turns(program)) == len(turns)
    assert join_turns(split_turns(program)) == program
