"""Logic programs a second: Pyke in memory and the forward chainer, beside Pyke as the authors use it.

The peer writes each program's facts and rules to a fresh folder, lets Pyke compile and import them, and
proves the query, as Logic-LM's solver does; the folder is in memory (/dev/shm) where there is one, and the
answers are right because it is fresh. No sandbox on either side. The last two cases are the whole environment
with one worker, Pyke in the sandbox. Every side reads the program's text, and every answer is checked.

The programs are ProofWriter's training theories, by the tests' translator, if the data is there (see
CONTRIBUTING.md); else generated ones in its style: each side's note says which.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import envs
from benchmarks.measure import BenchmarkError, Case, Side, Work, interleave
from benchmarks.runner import Bench, main
from envisions_jax.tasks.theories import generate_theories
from envs.logic import forward
from envs.logic.language import parse
from envs.logic.theory import number
from envs.logic.worlds import Derive, answer, find

TITLE = "Logic: one process or worker, beside Pyke with files and a compilation for each program"
SHARED_DATA = Path(__file__).parents[2] / "shared" / "data"
Program = tuple[envs.Task, str]
_folders = count()


def measure(bench: Bench) -> list[Case]:
    """Engines alone, then the environment with each of them."""
    if importlib.util.find_spec("pyke") is None:
        raise BenchmarkError('Pyke is not installed: pip install "envisions-jax[logic]"')
    from envs.logic import pyke_engine

    source, programs = load_programs(20 if bench.options.quick else 2000)
    few = programs[:: 10 if bench.options.quick else 20]
    with contextlib.ExitStack() as stack:
        theirs = stack.enter_context(file_and_compile())
        peer = Side("files", lambda turn: _check(few, theirs, source), lambda: _check(few[:1], theirs))

        def case(name: str, run: Callable[[str], str], asked: float) -> Case:
            ours = Side("ours", lambda turn: _check(programs, run, source), lambda: _check(programs[:1], run))
            return Case(name, "programs", *interleave(ours, peer, bench.options.repeats), asked=asked)

        def environment_case(engine: str) -> Case:
            environment = stack.enter_context(envs.make("logic", engine=engine, workers=1))
            ours = Side(
                "ours", lambda turn: _execute(environment, programs), lambda: _execute(environment, few)
            )
            measured = interleave(ours, peer, bench.options.repeats)
            return Case(f"environment, {engine}", "programs", *measured)

        return [
            case("Pyke in memory", lambda text: _answer(text, pyke_engine.derive), asked=1.4),
            case("forward", lambda text: _answer(text, _forward), asked=25),
            environment_case("pyke"),
            environment_case("forward"),
        ]


def _check(programs: Sequence[Program], run: Callable[[str], str], source: str = "") -> Work:
    """Raises BenchmarkError for an answer that is not the right one."""
    for task, text in programs:
        if (said := run(text)) != task.answer:
            raise BenchmarkError(f"{task.id}: {said}, not {task.answer}")
    return Work(len(programs), note=f"{len(programs)} {source}")


def _execute(environment: envs.Environment, programs: Sequence[Program]) -> Work:
    for (task, _), outcome in zip(programs, environment.execute(programs), strict=True):
        if not outcome.correct:
            raise BenchmarkError(f"{task.id} in the environment: {outcome}")
    return Work(len(programs))


def _answer(text: str, derive: Derive) -> str:
    program = parse(text)
    return answer(find(number(program, "open"), derive), program.query, "open")


def _forward(theory: Any, assumed: Any) -> Any:
    return forward.derive(theory, forward.Budget(), assumed)


# --- The authors' way ---


@contextlib.contextmanager
def file_and_compile() -> Iterator[Callable[[str], str]]:
    """A function that answers a program by Pyke's files and compiler, in a folder of its own for each.

    Pyke imports what it has compiled as packages below an entry of `sys.path`, of which it keeps a copy.
    """
    from pyke import knowledge_engine

    base = Path(tempfile.mkdtemp(dir="/dev/shm" if os.path.isdir("/dev/shm") else None))
    paths = knowledge_engine.Sys_path
    knowledge_engine.Sys_path = (*paths, str(base))
    sys.path.append(str(base))
    try:
        yield lambda text: _prove(text, base / f"program{next(_folders)}")
    finally:
        sys.path.remove(str(base))
        knowledge_engine.Sys_path = paths
        shutil.rmtree(base)


def _prove(text: str, folder: Path) -> str:
    """True, False or Unknown, as the authors' solver finds it, here for queries of any arity."""
    from pyke import knowledge_engine

    folder.mkdir()
    facts, rules, (query,) = (_section(text, heading) for heading in ("Facts:", "Rules:", "Query:"))
    (folder / "__init__.py").touch()
    (folder / "facts.kfb").write_text("\n".join(facts))
    (folder / "rules.krb").write_text("\n".join(_rule(*entry) for entry in enumerate(rules)))
    importlib.invalidate_caches()
    with contextlib.redirect_stderr(io.StringIO()):  # Pyke tells which files it writes
        engine = knowledge_engine.engine(str(folder))
    engine.reset()
    engine.activate("rules")
    atom, _, value = query.removesuffix(")").rpartition(", ")
    found = []
    for base in ("facts", "rules"):
        with engine.prove_goal(f"{base}.{atom}, $label)") as proofs:
            found += [variables["label"] for variables, _ in proofs]
    for name in [name for name in sys.modules if name.partition(".")[0] == folder.name]:
        del sys.modules[name]
    shutil.rmtree(folder)
    return str(all(found) == (value == "True")) if found else "Unknown"


def _section(text: str, heading: str) -> list[str]:
    """Its statements without their glosses."""
    after = text.partition(f"{heading}\n")[2].splitlines()
    end = next((place for place, line in enumerate(after) if line.endswith(":")), len(after))
    return [line.partition(":::")[0].strip() for line in after[:end] if line.strip()]


def _rule(number: int, text: str) -> str:
    premises, conclusions = (side.split(" && ") for side in text.split(" >>> "))
    lines = [f"rule{number}", "\tforeach", *(f"\t\tfacts.{premise}" for premise in premises)]
    return "\n".join([*lines, "\tassert", *(f"\t\tfacts.{conclusion}" for conclusion in conclusions)]) + "\n"


# --- Programs ---


def load_programs(most: int) -> tuple[str, list[Program]]:
    """What the programs are, and the programs with the answers they must give, in an open world.

    Raises BenchmarkError where the folder that ENVISIONS_SHARED_DATA names does not have the data.
    """
    named = os.environ.get("ENVISIONS_SHARED_DATA")
    folder = Path(named) if named else SHARED_DATA
    if not named and not folder.is_dir():
        made = [(task, task.meta["program"]) for task in generate_theories("train", most)]
        return "generated programs (ProofWriter's are not here, see CONTRIBUTING.md)", made
    from tests.envs.logic.gold import PROOFWRITER, gold_programs

    try:
        golds = gold_programs(folder, PROOFWRITER)[:most]
    except OSError as error:
        raise BenchmarkError(f"ENVISIONS_SHARED_DATA={folder}: {error}") from error
    return "of ProofWriter's gold programs", [(gold.task, str(gold.program)) for gold in golds]


if __name__ == "__main__":
    main(["logic"])
