"""The command line: one line and an exit code for what cannot work, before anything heavy starts."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from envisions_jax import compare
from envisions_jax.command_line import RunError, guard
from envisions_jax.config import Config, flatten, with_values
from envisions_jax.config_rules import ConfigError
from envisions_jax.workdir import SCHEMA, WorkDir, check_workdir, create_workdir, read_config

ROOT = Path(__file__).parents[1]
QUICKSTART = "--config=configs/quickstart.py:tiny"
CONFIG = with_values(Config(), {"tasks.train_size": 4, "tasks.test_size": 4})


def run(module: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m module arguments`, which may not import JAX."""
    block = "import sys; sys.modules['jax'] = None; import runpy; sys.argv = sys.argv[1:]; "
    code = block + "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=False)"
    command = [sys.executable, "-c", code, module, *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


BAD_COMMANDS = [
    ([], "say what to run: --config="),
    (["--config=configs/quickstat.py"], "configs/quickstat.py"),
    (["--config=configs/quickstart.py:tinny"], "variant='tinny'"),
    ([QUICKSTART, "--config.sampler.kk=3"], "sampler.kk='3': unknown key; did you mean sampler.k?"),
    ([QUICKSTART, "--config.samplr.k=3"], "samplr.k='3': unknown key; did you mean sampler.k?"),
    ([QUICKSTART, "--config.sampler.k=three"], "config.sampler.k=three"),
    ([QUICKSTART, "--config.sampler.k=0"], "sampler.k=0: must be at least 1"),
    ([QUICKSTART, "--config.loop.refine=False"], "loop.refine=False"),
    ([QUICKSTART, "--config.sampler.max_new_tokens=512"], "sampler.max_new_tokens=512"),
    ([QUICKSTART, "--workdr=x"], "workdr"),
    ([QUICKSTART, "extra"], "unexpected argument 'extra'"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_COMMANDS, ids=[m for _, m in BAD_COMMANDS])
def test_a_command_that_cannot_work_ends_in_one_line_and_code_2(
    tmp_path: Path, arguments: list[str], message: str
) -> None:
    done = run("envisions_jax.main", *arguments, *([f"--workdir={tmp_path / 'run'}"] if arguments else []))
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert done.stderr.startswith("error: ") and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_read_is_named_and_nothing_is_written(tmp_path: Path) -> None:
    data = tmp_path / "asdiv.jsonl"
    data.write_text('{"id": "1", "question": "1 and 1?", "answer": 2}\n{"id": "2", "question": \n')
    arguments = [f"--config.tasks.path={data}", f"--workdir={tmp_path / 'run'}"]
    done = run("envisions_jax.main", "--config=configs/asdiv.py:tiny", *arguments)
    assert done.returncode == 1
    assert f"{data}:2" in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_evaluate_wants_a_checkpoint_known_sets_and_demonstrations_there_are() -> None:
    for arguments, message in (
        ([], "--checkpoint=base"),
        (["--checkpoint=base", "--tasks=gsm9k"], "tasks='gsm9k'"),
        (["--checkpoint=base", "--shots=99"], "shots=99"),
    ):
        done = run("envisions_jax.evaluate", QUICKSTART, *arguments)
        assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


# ---- The work directory ----------------------------------------------------------------------


def test_a_work_directory_belongs_to_one_config(tmp_path: Path) -> None:
    create_workdir(check_workdir(tmp_path / "run", CONFIG), CONFIG)
    before = (tmp_path / "run" / "config.json").read_text()
    with pytest.raises(ConfigError) as caught:
        check_workdir(tmp_path / "run", with_values(CONFIG, {"sampler.k": 10, "train.epochs": 3}))
    assert "sampler.k=10 (there 5), train.epochs=3 (there 1)" in str(caught.value)
    assert (tmp_path / "run" / "config.json").read_text() == before


def test_what_no_result_depends_on_may_change(tmp_path: Path) -> None:
    create_workdir(check_workdir(tmp_path, CONFIG), CONFIG)
    changed = with_values(CONFIG, {"progress": False, "env.workers": 7, "checkpoint.every_steps": 3})
    create_workdir(check_workdir(tmp_path, changed), changed)
    assert read_config(WorkDir(tmp_path))["env.workers"] == 7


def test_config_json_holds_every_key_as_the_user_would_set_it(tmp_path: Path) -> None:
    create_workdir(WorkDir(tmp_path), CONFIG)
    assert read_config(WorkDir(tmp_path)) == json.loads(json.dumps(flatten(CONFIG)))


def test_a_newer_or_foreign_directory_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"schema": SCHEMA + 1, "config": {}}))
    with pytest.raises(ConfigError, match="newer"):
        check_workdir(tmp_path, CONFIG)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(ConfigError, match="is not a run's config"):
        check_workdir(tmp_path, CONFIG)
    (tmp_path / "config.json").unlink()
    (tmp_path / "thesis.tex").touch()
    with pytest.raises(ConfigError, match="not a run"):
        check_workdir(tmp_path, CONFIG)
    with pytest.raises(ConfigError, match="is a file"):
        check_workdir(tmp_path / "thesis.tex", CONFIG)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


# ---- How programs end ----------------------------------------------------------------------


def ends_with(error: BaseException) -> int:
    def program() -> int:
        raise error

    return guard(program)


def test_what_a_user_can_put_right_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    assert ends_with(ConfigError("sampler.k=0: no")) == 2
    assert ends_with(RunError("several\nlines")) == 1
    assert ends_with(KeyboardInterrupt()) == 130
    assert ends_with(OSError(28, "No space left on device")) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["error: sampler.k=0: no", "error: several lines"]
    assert "run the same command again" in lines[2] and "make room" in lines[3]


def test_a_defect_keeps_its_traceback() -> None:
    for error in (AttributeError("x"), OSError(5, "Input/output error"), ValueError("y")):
        with pytest.raises(type(error)):
            ends_with(error)


# ---- Comparing two runs ----------------------------------------------------------------------


def write_run(folder: Path, accuracy: float, iterations: int = 2, **changes: object) -> str:
    config = with_values(
        CONFIG, {"loop.iterations": 2} | {k.replace("__", "."): v for k, v in changes.items()}
    )
    create_workdir(WorkDir(folder), config)
    base = {"zero_shot": {"generated": 0.1}, "few_shot": {"generated": 0.25}}
    records: list[dict[str, object]] = [{"kind": "base", "iteration": -1, "accuracy": base}]
    for iteration in range(iterations):
        values = {"generated": accuracy + 0.1 * iteration}
        records.append({"kind": "iteration", "iteration": iteration, "accuracy": values})
    (folder / "metrics.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return str(folder)


def test_compare_shows_both_and_the_difference(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first = write_run(tmp_path / "full", 0.5)
    second = write_run(tmp_path / "control", 0.375, selection__filter="none")
    assert compare.main([first, second]) == 0
    shown = capsys.readouterr().out
    (last,) = [line for line in shown.splitlines() if "iteration 2" in line]
    assert "60.0 %" in last and "47.5 %" in last and "-12.5" in last
    assert "base, few-shot" in shown
    assert "selection.filter: 'environment' in full, 'none' in control" in shown


def test_compare_refuses_what_is_not_a_finished_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part = write_run(tmp_path / "whole", 0.5), write_run(tmp_path / "part", 0.5, iterations=1)
    assert compare.main([whole, part]) == 2
    assert compare.main([whole, str(tmp_path)]) == 2
    assert compare.main([whole]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "has 1 of 2 iterations" in lines[0]
    assert "is not a run" in lines[1]
    assert "which two runs" in lines[2]
