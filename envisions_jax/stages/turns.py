"""Turns: in a closed loop a policy sees what became of its program, and goes on.

A candidate is the program of all its turns, parted by marks (`envs.web.language`); its tokens are those of
its turns, each sampled, rewarded and learned under what the policy saw at that turn. In an open loop, the
paper's, a candidate has one turn.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar, runtime_checkable

from envisions_jax.prompts import Prompts
from envs import Task
from envs.web.language import join_turns, split_turns

logger = logging.getLogger(__name__)


@runtime_checkable
class Said(Protocol):
    """What a policy wrote: a `Generation` or a `Beam`."""

    @property
    def text(self) -> str: ...


S = TypeVar("S", bound=Said)


def _end(programs: Sequence[tuple[Task, str]]) -> list[Task | None]:
    return [None] * len(programs)


@dataclass(frozen=True)
class Interaction:
    """How a policy and an episode take turns; by default there is one (open loop).

    turns: of an episode, at most.
    go_on: each task as it stands after its program so far, None where there is no next turn.
    """

    turns: int = 1
    go_on: Callable[[Sequence[tuple[Task, str]]], Sequence[Task | None]] = _end


@dataclass(frozen=True)
class Turn(Generic[S]):
    """What a policy saw, and what it wrote there."""

    task: Task
    said: S


def completion_of(turns: Sequence[Turn[S]], prompts: Prompts) -> str:
    """The text of a candidate: what was written in its only turn, or its program as a completion."""
    if len(turns) == 1:
        return turns[0].said.text
    return prompts.completion(_program(turns, prompts))


def play(
    interaction: Interaction,
    prompts: Prompts,
    first: Sequence[Turn[S]],
    say: Callable[[int, Sequence[int], Sequence[Task]], Sequence[S]],
) -> list[list[Turn[S]]]:
    """All turns of candidates that have had their first.

    say: what is written in turn `number`, from 2, by the candidates of these indices, who see these tasks.
    """
    played = [[turn] for turn in first]
    going = list(range(len(played)))
    for number in range(2, interaction.turns + 1):
        so_far = [(played[index][0].task, _program(played[index], prompts)) for index in going]
        seen = interaction.go_on(so_far)
        next_turn = {index: task for index, task in zip(going, seen, strict=True) if task is not None}
        going, tasks = list(next_turn), list(next_turn.values())
        if not going:
            break
        for index, task, said in zip(going, tasks, say(number, going, tasks), strict=True):
            played[index].append(Turn(task, said))
    return played


def parted(interaction: Interaction, programs: Sequence[tuple[Task, str]]) -> list[list[tuple[Task, str]]]:
    """Programs in their turns: what was seen at each, and what was done there.

    A turn whose page cannot be seen again (its episode ran out of time when it was played anew) is left out
    with a warning, and so are those after it.
    """
    if interaction.turns == 1:  # a mark is any comment then
        return [[entry] for entry in programs]
    turns = [split_turns(program) for _, program in programs]
    found = [[(task, own[0])] for (task, _), own in zip(programs, turns, strict=True)]
    for number in range(1, max(map(len, turns), default=0)):
        going = [index for index, own in enumerate(turns) if len(found[index]) == number < len(own)]
        seen = interaction.go_on([(programs[index][0], join_turns(turns[index][:number])) for index in going])
        for index, task in zip(going, seen, strict=True):
            if task is not None:
                found[index].append((task, turns[index][number]))
    missing = sum(map(len, turns)) - sum(map(len, found))
    if missing:
        logger.warning(
            "%d of %d turns could not be seen again and are left out", missing, sum(map(len, turns))
        )
    return found


def _program(turns: Sequence[Turn[S]], prompts: Prompts) -> str:
    return prompts.canonical(join_turns([prompts.program(turn.said.text) for turn in turns]))
