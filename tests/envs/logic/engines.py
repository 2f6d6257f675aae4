"""Both engines by name, in this process, and what a program says by each of them."""

from collections.abc import Collection

from envs.logic import forward, pyke_engine
from envs.logic.language import Program
from envs.logic.theory import Numbers, Theory, World, number
from envs.logic.worlds import Findings, answer, find


def by_forward(theory: Theory, assumed: Collection[Numbers] = frozenset()) -> Collection[Numbers]:
    return forward.derive(theory, forward.Budget(), assumed)


ENGINES = {"forward": by_forward, "pyke": pyke_engine.derive}


def findings(program: Program, world: World, engine: str) -> Findings:
    return find(number(program, world), ENGINES[engine])


def truth(program: Program, world: World, engine: str) -> str:
    return answer(findings(program, world, engine), program.query, world)
