"""The logic environment: outcomes of every kind, options, tasks, order, and what stays behind."""

import os
from collections.abc import Iterator

import psutil
import pytest

import envs
from envs.logic.environment import LogicEnvironment
from tests.envs.logic.hostile import GOOD


def task(answer: str | int = "True", world: object = "open", name: str = "t") -> envs.Task:
    return envs.Task(name, "?", answer, meta={"world": world})


def theory(query: str, facts: str = "Blue(Anne, True)", rules: str = "") -> str:
    return f"Facts:\n{facts}\nRules:\n{rules}\nQuery:\n{query}"


@pytest.fixture(scope="module", params=["pyke", "forward"])
def environment(request: pytest.FixtureRequest) -> Iterator[LogicEnvironment]:
    with LogicEnvironment(request.param, workers=1, time_limit_s=5.0) as environment:
        yield environment


def run(environment: envs.Environment, text: str, answer: str = "True", world: str = "open") -> envs.Outcome:
    (outcome,) = environment.execute([(task(answer, world), text)])
    return outcome


_BLUE = theory("Blue(Anne, True)")
_RED = theory("Red(Anne, True)")
_BOTH = theory("Blue(Anne, True)", "Blue(Anne, True)\nBlue(Anne, False)")
_EMPTY = theory("Blue(Anne, True)", "")
_UNRELATED = theory("Likes(Bob, Carl, True)")
_GROWS = theory(
    "Blue(c1, True)",
    "\n".join(f"Blue(c{n}, True)" for n in range(20)),
    "Blue($x, True) && Blue($y, True) && Blue($z, True) >>> R($x, $y, $z, True)",
)
_UNBOUND = theory("Blue(Anne, True)", rules="Blue($x, True) >>> Red($y, True)")
_NOTE = "the program says nothing that its query could depend on"
_NO_QUERY = "line 1, column 1: there is no 'Query:'; the program must end with one query"
_NO_TRUTH = "line 6, column 6: the last argument must be True or False, found 'Anne'"
_NO_BINDING = "line 4, column 24: '$y' is in a conclusion but in no premise"
_BOTH_FOLLOW = "the query and its negation both follow; the negation wins"


@pytest.mark.parametrize(
    ("text", "answer", "world", "expected"),
    [
        (_BLUE, "True", "open", ("correct", "True", "")),
        (_BLUE, "False", "open", ("wrong", "True", "")),
        (_BLUE, "Unknown", "open", ("wrong", "True", "")),
        (_RED, "Unknown", "open", ("correct", "Unknown", "")),
        (_RED, "False", "closed", ("correct", "False", "")),
        (theory("Red(Anne, False)"), "True", "closed", ("correct", "True", "")),
        (_BOTH, "False", "open", ("correct", "False", _BOTH_FOLLOW)),
        (_BOTH, "True", "closed", ("correct", "True", "")),
        (_EMPTY, "Unknown", "open", ("vacuous", "Unknown", _NOTE)),
        (_EMPTY, "True", "open", ("vacuous", "Unknown", _NOTE)),
        (_UNRELATED, "Unknown", "open", ("vacuous", "Unknown", _NOTE)),
        (_UNRELATED, "False", "closed", ("vacuous", "False", _NOTE)),
        (f"So:\n```\n{_BLUE}\n```\nDone.", "True", "open", ("correct", "True", "")),
        (f"```prolog\n{_BLUE}", "True", "open", ("correct", "True", "")),
        (GOOD, "True", "open", ("correct", "True", "")),
        ("", "True", "open", ("invalid", None, _NO_QUERY)),
        (theory("Blue(Anne)"), "True", "open", ("invalid", None, _NO_TRUTH)),
        (_UNBOUND, "True", "open", ("invalid", None, _NO_BINDING)),
        (_GROWS, "True", "open", ("timeout", None, "more than 5000 facts follow from the program")),
    ],
)  # fmt: skip
def test_outcomes(
    environment: LogicEnvironment, text: str, answer: str, world: str, expected: tuple[str, str | None, str]
) -> None:
    outcome = run(environment, text, answer, world)
    assert (outcome.kind, outcome.value, outcome.error) == expected
    assert outcome.output == "" and outcome.pictures == ()
    assert (outcome.seconds > 0) == (outcome.kind != "invalid")


@pytest.mark.parametrize("engine", ["pyke", "forward"])
def test_by_answer_is_the_paper_s_way_with_vacuous_programs(engine: str) -> None:
    with envs.make("logic", engine=engine, workers=1, vacuous="by_answer") as environment:
        for text, answer, world, kind in (
            (_EMPTY, "Unknown", "open", "correct"),
            (_EMPTY, "True", "open", "wrong"),
            (_UNRELATED, "False", "closed", "correct"),
        ):
            outcome = run(environment, text, answer, world)
            assert (outcome.kind, outcome.error) == (kind, _NOTE)
        assert run(environment, _BLUE).error == ""


def test_relations_can_be_left_unknown_as_the_authors_do() -> None:
    likes = theory("Likes(Anne, Bob, True)", "Likes(Anne, Bob, True)")
    likes_not = theory("Likes(Anne, Bob, False)", "Likes(Anne, Bob, True)")
    premise = theory("Red(Anne, True)", "Likes(Anne, Bob, True)", "Likes($x, $y, True) >>> Red($x, True)")
    with envs.make("logic", engine="forward", relations="unknown") as environment:
        assert run(environment, likes).value == "Unknown"
        assert run(environment, likes_not).value == "Unknown"
        assert run(environment, likes, world="closed").value == "False"
        assert run(environment, likes_not, world="closed").value == "True"
        assert run(environment, _BLUE).value == "True"
        assert run(environment, premise).value == "True"
        assert run(environment, _UNRELATED).kind == "vacuous"


def test_outcomes_come_in_order_and_programs_are_read_lazily(environment: LogicEnvironment) -> None:
    """Also where most are no programs, which need no worker."""
    taken = 0

    def programs() -> Iterator[tuple[envs.Task, str]]:
        nonlocal taken
        for number in range(200):
            taken += 1
            query = f"Blue(c{number}, {number % 2 == 0})"
            text = theory(query, f"Blue(c{number}, True)") if number % 7 == 0 else f"no program {number}"
            yield task(name=str(number)), text

    outcomes = environment.execute(programs())
    first = next(outcomes)
    assert taken <= 8, "no more than the promised number ahead"
    kinds = [first.kind, *(outcome.kind for outcome in outcomes)]
    assert kinds == [("correct" if n % 2 == 0 else "wrong") if n % 7 == 0 else "invalid" for n in range(200)]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (envs.Task("t7", "?", "True"), r"task 't7': meta\['world'\] must be one of open, closed, not None"),
        (task(world="flat"), "not 'flat'"),
        (task(world=["open"]), r"not \['open'\]"),
        (task("Yes"), "answer='Yes' must be one of True, False, Unknown"),
        (task("Unknown", "closed"), r"answer='Unknown' must be one of True, False \(closed world\)"),
        (task(1), "answer=1 must be one of"),
    ],
)
def test_tasks_of_other_forms_are_errors(
    environment: LogicEnvironment, wrong: envs.Task, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        list(environment.execute([(task(), _BLUE), (wrong, _BLUE)]))
    assert run(environment, _BLUE).correct, "and the environment is as good as before"


@pytest.mark.parametrize("entry", [_BLUE, (1, _BLUE), (task(), None), None])
def test_only_pairs_of_task_and_text_are_executed(environment: LogicEnvironment, entry: object) -> None:
    with pytest.raises(TypeError, match="takes pairs"):
        list(environment.execute([(task(), _BLUE), entry]))  # type: ignore[list-item]


@pytest.mark.parametrize(
    "options",
    [
        {"engine": "prolog"},
        {"vacuous": "ignored"},
        {"relations": "false"},
        {"workers": 0},
        {"time_limit_s": 0},
        {"memory_limit_mb": 4},
        {"sandbox": "strong"},
    ],
)
def test_impossible_options_are_named(options: dict[str, object]) -> None:
    (name,) = options
    with pytest.raises(ValueError, match=f"{name} must be"):
        envs.make("logic", **options)


def test_without_pyke_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.logic.environment.find_spec", lambda name: None)
    with pytest.raises(envs.EnvironmentFailure, match=r"envisions-jax\[logic\].*engine=\"forward\""):
        envs.make("logic")
    assert run(envs.make("logic", engine="forward"), _BLUE).correct


def test_it_is_an_environment(environment: LogicEnvironment) -> None:
    assert isinstance(environment, envs.Environment)


@pytest.mark.parametrize("engine", ["pyke", "forward"])
def test_nothing_is_left_when_it_is_closed(engine: str) -> None:
    with envs.make("logic", engine=engine, workers=2) as environment:
        assert run(environment, _BLUE).correct
        assert isinstance(environment, LogicEnvironment)
        processes = environment.processes()
        assert len(processes) == (2 if engine == "pyke" else 0)
    assert not any(psutil.pid_exists(process) for process in processes)
    with pytest.raises(envs.EnvironmentFailure, match="closed"):
        run(environment, _BLUE)


def test_time_limits_hold_in_both_engines() -> None:
    """A rule of eight premises over sixty facts, of which nothing new follows."""
    facts = "\n".join(f"Blue(c{n}, True)" for n in range(60))
    premises = " && ".join(f"Blue($v{n}, True)" for n in range(8))
    text = theory("Blue(c1, True)", facts, f"{premises} && Red($v0, True) >>> Green($v0, True)")
    with envs.make("logic", engine="pyke", workers=1, time_limit_s=0.3) as environment:
        assert run(environment, text).kind == "timeout"
        assert run(environment, _BLUE).correct
    with envs.make("logic", engine="forward", time_limit_s=1e-6) as environment:
        outcome = run(environment, text)
        assert outcome.kind == "timeout" and "time limit" in outcome.error


def test_backticks_in_a_gloss_cut_nothing(environment: LogicEnvironment) -> None:
    facts = "Nice(Anne, True) ::: ```\nBig(Anne, True) ::: see ```a```"
    assert run(environment, theory("Nice(Anne, True)", facts)).correct


def test_pyke_leaves_no_file(environment: LogicEnvironment, tmp_path: os.PathLike[str]) -> None:
    """The authors' way compiles into the current folder."""
    before = os.getcwd()
    os.chdir(tmp_path)
    try:
        assert run(environment, GOOD).correct
        assert os.listdir(".") == []
    finally:
        os.chdir(before)
