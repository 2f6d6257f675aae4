"""The pool: order, bounded look-ahead, replaced workers, and nothing left behind, however it ends."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest

import envs
from envs.python import PythonEnvironment
from tests.envs.conftest import wait_until

_ROOT = Path(__file__).resolve().parents[2]


def _numbered(count: int, sleep_s: float = 0.0) -> Iterator[tuple[envs.Task, str]]:
    for number in range(count):
        wait = f"import time\ntime.sleep({sleep_s * (1 + number % 3)})\n" if sleep_s else ""
        yield envs.Task(str(number), "?", number), f"{wait}result = {number}"


def _family(pids: list[int]) -> list[psutil.Process]:
    """The processes and all their descendants."""
    roots = [psutil.Process(pid) for pid in pids]
    return [process for root in roots for process in (root, *root.children(recursive=True))]


def _alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still are; a zombie of someone else's is over, too."""
    return [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


def _open_files() -> set[str]:
    return {
        f"{entry.name}->{os.readlink(entry)}"
        for entry in Path("/proc/self/fd").iterdir()
        if entry.is_symlink()
    }


def _shared_memory() -> set[str]:
    return set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()


def test_outcomes_keep_their_order_whatever_takes_longer(environment: PythonEnvironment) -> None:
    outcomes = list(environment.execute(_numbered(40, sleep_s=0.01)))
    assert [outcome.value for outcome in outcomes] == list(range(40))
    assert all(outcome.correct for outcome in outcomes)


def test_it_reads_lazily_and_not_far_ahead(environment: PythonEnvironment) -> None:
    read = 0

    def endless() -> Iterator[tuple[envs.Task, str]]:
        nonlocal read
        for entry in _numbered(10**9):
            read += 1
            yield entry

    results = environment.execute(endless())
    assert read == 0
    for number in range(20):
        assert next(results).value == number
        assert read <= number + 1 + 16
    results.close()  # type: ignore[attr-defined]
    assert [o.value for o in environment.execute(_numbered(3))] == [0, 1, 2]


def test_nothing_to_do(environment: PythonEnvironment) -> None:
    assert list(environment.execute([])) == []


def test_two_runs_at_once_do_not_mix(environment: PythonEnvironment) -> None:
    first, second = environment.execute(_numbered(10)), environment.execute(_numbered(10))
    for number, (one, other) in enumerate(zip(first, second, strict=True)):
        assert one.value == other.value == number


def test_a_second_thread_is_refused_while_the_first_waits(environment: PythonEnvironment) -> None:
    """Both would write to the same workers. The first goes on undisturbed."""
    slow = "import time\ntime.sleep(1)\nresult = 7"
    with ThreadPoolExecutor(1) as thread:
        running = thread.submit(lambda: list(environment.execute([(envs.Task("slow", "?", 7), slow)])))
        time.sleep(0.3)
        with pytest.raises(RuntimeError, match="one thread at a time"):
            list(environment.execute(_numbered(1)))
        assert [outcome.kind for outcome in running.result()] == ["correct"]


def test_an_exception_of_the_source_comes_through(environment: PythonEnvironment) -> None:
    def broken() -> Iterator[tuple[envs.Task, str]]:
        yield from _numbered(3)
        raise LookupError("the source is broken")

    results = environment.execute(broken())
    with pytest.raises(LookupError, match="the source is broken"):
        list(results)
    assert [o.value for o in environment.execute(_numbered(3))] == [0, 1, 2]


@pytest.mark.parametrize("who", ["launcher", "zygote"])
def test_a_killed_worker_is_replaced_and_nothing_is_lost(who: str, caplog: pytest.LogCaptureFixture) -> None:
    with PythonEnvironment(workers=2) as environment:
        results = environment.execute(_numbered(120, sleep_s=0.01))
        values = [next(results).value for _ in range(10)]
        for round_ in range(2):
            pid = environment.processes()[round_ % 2]
            if who == "zygote":
                pid = psutil.Process(pid).children()[0].pid
            os.kill(pid, signal.SIGKILL)
            values += [next(results).value for _ in range(40)]
        values += [outcome.value for outcome in results]
        assert values == list(range(120))
        assert caplog.text.count("is replaced") == 2


def test_a_program_whose_worker_dies_twice_is_infrastructure() -> None:
    with PythonEnvironment(workers=1, time_limit_s=30) as environment:
        task = envs.Task("t", "?", 1)
        stop = threading.Event()

        def killer() -> None:
            """Kills the zygote whenever it has a child that sleeps, as the host's OOM killer might."""
            while not stop.wait(0.02):
                for process in environment.processes():
                    family = _quietly_list(process)
                    if len(family) == 2:
                        family[0].kill()

        thread = threading.Thread(target=killer)
        thread.start()
        try:
            outcomes = environment.execute([(task, "import time\ntime.sleep(20)\nresult = 1")])
            assert next(outcomes).kind == "infrastructure"
        finally:
            stop.set()
            thread.join()
        assert [o.kind for o in environment.execute([(task, "result = 1")])] == ["correct"]


def _quietly_list(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def test_a_stopped_worker_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.sandbox.pool._SILENCE_S", 0.5)
    with PythonEnvironment(workers=1, time_limit_s=0.5) as environment:
        assert [o.value for o in environment.execute(_numbered(2))] == [0, 1]
        zygote = psutil.Process(environment.processes()[0]).children()[0]
        zygote.suspend()
        assert [o.value for o in environment.execute(_numbered(2))] == [0, 1]
        assert wait_until(lambda: not _alive([zygote]))


def test_close_leaves_nothing_behind() -> None:
    files, memory, children = _open_files(), _shared_memory(), psutil.Process().children(recursive=True)
    environment = PythonEnvironment(workers=2)
    list(environment.execute([(envs.Task("t", "?", "\\sqrt{4}"), "result = 2")]))  # starts the judge, too
    processes = [p for p in psutil.Process().children(recursive=True) if p not in children]
    assert len(processes) == 6, "launcher and zygote of two workers and of the judge"
    environment.close()
    assert _alive(processes) == []
    assert psutil.Process().children(recursive=True) == children, "no zombie either"
    assert _open_files() == files
    assert _shared_memory() == memory
    environment.close()
    with pytest.raises(envs.EnvironmentFailure, match="closed"):
        list(environment.execute(_numbered(1)))


def test_close_in_the_middle_of_programs_is_quick() -> None:
    environment = PythonEnvironment(workers=2, time_limit_s=60)
    results = environment.execute(
        (envs.Task("t", "?", 1), f"import time\ntime.sleep({seconds})\nresult = 1")
        for seconds in (0, 50, 50, 50)
    )
    assert next(results).correct
    assert wait_until(lambda: len(_family(environment.processes())) >= 5)
    processes = _family(environment.processes())
    start = time.monotonic()
    environment.close()
    assert time.monotonic() - start < 3
    assert _alive(processes) == []


def test_an_exception_leaves_nothing_behind() -> None:
    with pytest.raises(LookupError), PythonEnvironment(workers=1) as environment:
        processes = _family(environment.processes())
        raise LookupError
    assert _alive(processes) == []


def test_a_forgotten_environment_ends() -> None:
    environment = PythonEnvironment(workers=1)
    list(environment.execute(_numbered(1)))
    processes = _family(environment.processes())
    del environment
    assert wait_until(lambda: not _alive(processes))


_OWNER = """
import sys, time
import envs
environment = envs.make("python", workers=2, time_limit_s=60)
task = envs.Task("t", "?", 1)
results = environment.execute((task, p) for p in ["result = 1"] + ["import time\\ntime.sleep(50)"] * 3)
next(results)
print(*environment.processes(), flush=True)
sys.stdin.readline()
{then}
"""


def _start_owner(then: str) -> tuple[subprocess.Popen[str], list[psutil.Process]]:
    owner = subprocess.Popen(
        [sys.executable, "-c", _OWNER.format(then=then)],
        cwd=_ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout is not None
    pids = [int(word) for word in owner.stdout.readline().split()]
    # Two launchers, two zygotes and at least one program.
    assert wait_until(lambda: len(_family(pids)) >= 5)
    return owner, _family(pids)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_workers_die_with_their_parent(number: signal.Signals) -> None:
    owner, processes = _start_owner("time.sleep(60)")
    owner.send_signal(number)
    owner.wait(10)
    assert wait_until(lambda: not _alive(processes)), _alive(processes)


@pytest.mark.parametrize("then", ["raise LookupError", "sys.exit(3)", "import os; os._exit(4)"])
def test_workers_end_when_the_interpreter_does(then: str) -> None:
    owner, processes = _start_owner(then)
    owner.communicate("go\n", timeout=10)
    assert wait_until(lambda: not _alive(processes)), _alive(processes)


def test_workers_ignore_ctrl_c(environment: PythonEnvironment) -> None:
    for process in _family(environment.processes()):
        process.send_signal(signal.SIGINT)
    assert [o.value for o in environment.execute(_numbered(10))] == list(range(10))


def test_workers_survive_the_thread_that_started_them() -> None:
    made: list[PythonEnvironment] = []
    thread = threading.Thread(target=lambda: made.append(PythonEnvironment(workers=1)))
    thread.start()
    thread.join()
    with made[0] as environment:
        before = environment.processes()
        assert [o.value for o in environment.execute(_numbered(3))] == [0, 1, 2]
        assert environment.processes() == before


def test_workers_that_cannot_start_are_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("envs.sandbox.pool._LAUNCHER", "envs.sandbox.nowhere")
    before = psutil.Process().children(recursive=True)
    with pytest.raises(envs.EnvironmentFailure, match="do not start"):
        PythonEnvironment(workers=1)
    assert psutil.Process().children(recursive=True) == before


def test_workers_import_no_jax(environment: PythonEnvironment) -> None:
    for process in _family(environment.processes()):
        loaded = {Path(entry.path).name for entry in process.memory_maps()}
        assert not any("jax" in name or "xla" in name for name in loaded)


def test_programs_longer_than_a_pipe(environment: PythonEnvironment) -> None:
    programs = [
        (envs.Task(str(n), "?", n), f"{'# filler' * 50_000}\nprint('x' * 16000)\nresult = {n}")
        for n in range(12)
    ]
    assert [outcome.value for outcome in environment.execute(programs)] == list(range(12))
