"""The command line: one line and an exit code for what cannot work, before anything heavy starts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from envisions_jax import compare
from envisions_jax.command_line import RunError, for_fake_devices, guard
from envisions_jax.config import Config, flatten, with_values
from envisions_jax.config_rules import ConfigError
from envisions_jax.evaluate import default_output, find_run
from envisions_jax.store import TrajectoryStore
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


@pytest.mark.parametrize("more_seconds", [0.0, 0.7])
def test_an_interruption_while_libraries_are_loaded_ends_in_one_line(
    tmp_path: Path, more_seconds: float
) -> None:
    command = [sys.executable, "-m", "envisions_jax.main", QUICKSTART, f"--workdir={tmp_path / 'run'}"]
    with subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as started:
        assert started.stdout is not None and started.stderr is not None
        while "tasks to train on" not in started.stdout.readline():
            assert started.poll() is None, started.stderr.read()
        time.sleep(more_seconds)
        started.send_signal(signal.SIGINT)
        assert started.wait(60) == 130
        assert started.stderr.read() == "error: interrupted before anything was begun\n"
    assert not (tmp_path / "run").exists()


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
    ([QUICKSTART, "--config.prompt.shots=4"], "prompt.shots=4: there are 3 demonstrations"),
    ([QUICKSTART, "--config.tasks.test=gsm9k"], "did you mean gsm8k?"),
    ([QUICKSTART, "--config.env.memory_limit_mb=1"], "env.memory_limit_mb=1: must be from 16"),
    ([QUICKSTART, "--config.model.path=nowhere.gguf"], "model.path=nowhere.gguf: no model at"),
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


@pytest.mark.parametrize("module", ["envisions_jax.main", "envisions_jax.evaluate"])
def test_help_is_about_this_program_and_no_failure(module: str) -> None:
    done = run(module, "--help")
    assert done.returncode == 0 and done.stderr == ""
    assert "--config=CONFIG" in done.stdout and "--config.<section>.<key>=" in done.stdout
    assert ("--workdir=WORKDIR" in done.stdout) == (module == "envisions_jax.main")


def test_a_work_directory_in_use_is_refused_before_jax_starts(tmp_path: Path) -> None:
    with TrajectoryStore(tmp_path / "run" / "store.sqlite"):
        done = run("envisions_jax.main", QUICKSTART, f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "in use by another run" in done.stderr
    assert done.stdout == ""  # the tasks, which come before JAX, have not been told either


CONFIG_FILES = [
    ("def get_config():\n    return {'seed': 1}\n", "get_config() gave dict"),
    ("def get_config():\n    return 1 / 0\n", "mine.py, line 2: ZeroDivisionError: division by zero"),
    ("import no_such_thing\n", "mine.py, line 1: ModuleNotFoundError"),
    ("def get_config(:\n", "SyntaxError: invalid syntax (mine.py, line 1)"),
]


@pytest.mark.parametrize(("code", "message"), CONFIG_FILES, ids=[m for _, m in CONFIG_FILES])
def test_a_config_file_may_be_any_program(tmp_path: Path, code: str, message: str) -> None:
    (tmp_path / "mine.py").write_text(code)
    done = run("envisions_jax.main", f"--config={tmp_path / 'mine.py'}", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1


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
        (["--checkpoint=base", "--tasks=gsm9k"], "did you mean gsm8k?"),
        (["--checkpoint=base", "--shots=99"], "shots=99"),
        (["--checkpoint=no such run"], "checkpoint=no such run: no model at"),
        (["--checkpoint=configs/nosuch"], "there is no such run or model in configs"),
        (["--checkpoint=runs/nosuch"], "there is no such run or model in runs"),
        (["--checkpoint=base", "--output=configs"], "output=configs: is a folder"),
        (["--checkpoint=base", "--output=nowhere/x.json"], "there is no folder nowhere"),
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


def test_a_start_that_was_killed_does_not_block_the_next_one(tmp_path: Path) -> None:
    for name in (".config.json.partial", "store.sqlite", "store.sqlite.lock", "store.sqlite-wal"):
        (tmp_path / name).touch()
    create_workdir(check_workdir(tmp_path, CONFIG), CONFIG)
    assert read_config(check_workdir(tmp_path, CONFIG)) == json.loads(json.dumps(flatten(CONFIG)))
    assert not (tmp_path / ".config.json.partial").exists()


def test_a_key_that_did_not_exist_when_the_run_began_had_its_default(tmp_path: Path) -> None:
    config = {key: value for key, value in flatten(CONFIG).items() if key != "env.sandbox"}
    (tmp_path / "config.json").write_text(json.dumps({"schema": SCHEMA, "config": config}))
    check_workdir(tmp_path, CONFIG)
    with pytest.raises(ConfigError, match=r"env.sandbox='none' \(there 'full'\)"):
        check_workdir(tmp_path, with_values(CONFIG, {"env.sandbox": "none"}))


@pytest.mark.parametrize("content", [b"\xff\x00", b"[]", b'{"schema": "1", "config": {}}',
                                     b'{"schema": 1, "config": [1]}', b'{"schema": 1}'])  # fmt: skip
def test_a_broken_config_json_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"config.json: is not a run's config"):
        check_workdir(tmp_path, CONFIG)


def test_a_place_where_nothing_can_be_written_is_refused_at_once(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "run" / "config.json").mkdir(parents=True)
    for place in (tmp_path / "file" / "run", tmp_path / ("x" * 300), tmp_path / "run"):
        with pytest.raises(ConfigError, match=r"^(workdir=)?/.*: "):
            check_workdir(place, CONFIG)


def test_a_run_is_evaluated_with_its_own_model_and_prompts(tmp_path: Path) -> None:
    create_workdir(WorkDir(tmp_path), CONFIG)
    assert find_run(CONFIG, str(tmp_path)) is None  # no store: what `model.path` takes
    (tmp_path / "store.sqlite").touch()
    assert find_run(with_values(CONFIG, {"loop.iterations": 1}), str(tmp_path)) == WorkDir(tmp_path)
    for key, value in (("prompt.style", "pal"), ("model.path", "other")):
        with pytest.raises(ConfigError, match=f"is a run with {key}="):
            find_run(with_values(CONFIG, {key: value}), str(tmp_path))
    for name in ("policy-2", "policy-10", "train-11", "policy-x"):
        (tmp_path / "checkpoints" / name).mkdir(parents=True)
    assert WorkDir(tmp_path).policies() == [10, 2]


def test_an_evaluation_is_not_written_over_an_earlier_one(tmp_path: Path) -> None:
    workdir = WorkDir(tmp_path)
    for name in ("evaluation-0shot.json", "evaluation-0shot-2.json", "evaluation-0shot-3.json"):
        output = default_output(workdir, 0)
        assert output == tmp_path / name
        output.touch()
    assert default_output(workdir, 3) == tmp_path / "evaluation-3shot.json"


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
    assert ends_with(PermissionError(13, "Permission denied", "/runs/a/times.json")) == 1
    lines = capsys.readouterr().err.splitlines()
    assert lines[:2] == ["error: sampler.k=0: no", "error: several lines"]
    assert "run the same command again" in lines[2] and "make room" in lines[3]
    assert lines[4].startswith("error: /runs/a/times.json: Permission denied")


def test_a_defect_keeps_its_traceback() -> None:
    for error in (AttributeError("x"), OSError(5, "Input/output error"), ValueError("y")):
        with pytest.raises(type(error)):
            ends_with(error)


def test_fake_devices_get_patience_and_threads_unless_the_user_says_otherwise() -> None:
    """A flag that XLA did not know would end the processes that `tests/parallel` starts with it."""
    fake = "--xla_force_host_platform_device_count=8"
    waiting = f"{fake} --xla_cpu_collective_call_terminate_timeout_seconds="
    assert for_fake_devices({}) == {}
    assert for_fake_devices({"XLA_FLAGS": "--xla_cpu_use_fusion_emitters=false"}) == {}
    threads = str(max(64, os.cpu_count() or 1))
    assert for_fake_devices({"XLA_FLAGS": fake}) == {"XLA_FLAGS": f"{waiting}1200", "PJRT_NPROC": threads}
    assert for_fake_devices({"XLA_FLAGS": f"{waiting}3"}) == {"PJRT_NPROC": threads}
    assert for_fake_devices({"XLA_FLAGS": f"{waiting}3", "PJRT_NPROC": "8"}) == {}


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


def test_compare_helps(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main(["--help"]) == 0
    assert "python -m envisions_jax.compare runs/" in capsys.readouterr().out


def test_compare_refuses_what_is_not_a_finished_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole, part = write_run(tmp_path / "whole", 0.5), write_run(tmp_path / "part", 0.5, iterations=1)
    assert compare.main([whole, part]) == 2
    assert compare.main([whole, str(tmp_path)]) == 2
    assert compare.main([whole]) == 2
    assert compare.main([whole, whole]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert "has 1 of 2 iterations" in lines[0]
    assert "is not a run" in lines[1]
    assert "which two runs" in lines[2]
