"""A process that writes to a store, to be killed or waited for."""

import signal
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]

WRITER = """
    import sys, time
    from envisions_jax.store import Shard, TrajectoryStore
    from tests.trajectories import candidate

    def rows(number, pause):
        for k in range(50):
            yield candidate(f"task {number}", k, text="x = 1\\n" * 50, iteration=1)
            if pause and k == 30:
                print("inside", flush=True)
                time.sleep(60)

    with TrajectoryStore(sys.argv[1], config={"seed": 0}) as store:
        print("open", flush=True)
        for number in range(int(sys.argv[2])):
            if number not in store.done_shards(1, "explore"):
                store.add_many(rows(number, number == int(sys.argv[3])), shard=Shard(1, "explore", number))
        store.mark_done(1, "explore")
"""


def start_writer(path: Path, shards: int, pause_in: int = -1) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", textwrap.dedent(WRITER), str(path), str(shards), str(pause_in)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "open\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert process.stdout is not None
    process.stdout.close()


def finish(process: subprocess.Popen[str]) -> None:
    process.communicate(timeout=60)
    assert process.returncode == 0
