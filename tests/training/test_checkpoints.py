"""Checkpoints: whole or not there, the newest kept, and a failed write costs nothing that was there."""

import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from envisions_jax.training import saving
from envisions_jax.training.checkpoints import Checkpoints, has_params, restore_params, save_params
from envisions_jax.training.saving import Saver
from envisions_jax.training.stored_tree import FILES, CheckpointError
from tests.full_disk import files_of_at_most


def tree(seed: int = 0) -> dict[str, Any]:
    """Random bits: they do not compress."""
    keys = jax.random.split(jax.random.key(seed), 2)
    return {
        "layers": [jax.random.normal(keys[0], (300, 100)), jax.random.normal(keys[1], (7,))],
        "count": jnp.int32(3),
    }


def same(a: Any, b: Any) -> bool:
    return all(jax.tree.leaves(jax.tree.map(np.array_equal, a, b)))


def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: SimpleNamespace(free=1000))


def test_the_newest_comes_back_and_only_so_many_are_kept(tmp_path: Path) -> None:
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        assert checkpoints.latest(tree()) is None
        for step in (1, 2, 3):
            checkpoints.save(step, tree(step), {"step": step})
        checkpoints.wait()
        assert checkpoints.steps() == [2, 3]
    with Checkpoints(tmp_path) as checkpoints:
        found = checkpoints.latest(jax.eval_shape(tree))
    assert found is not None
    assert (found.step, found.metadata) == (3, {"step": 3})
    assert same(found.tree, tree(3))


def test_a_saved_tree_may_be_donated_at_once(tmp_path: Path) -> None:
    overwrite = jax.jit(lambda x: jax.tree.map(jnp.zeros_like, x), donate_argnums=0)
    given = {"w": jnp.arange(3_000_000.0)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, given, {})
        jax.block_until_ready(overwrite(given))
        checkpoints.wait()
        found = checkpoints.latest({"w": jnp.zeros(3_000_000)})
    assert found is not None and np.array_equal(found.tree["w"], np.arange(3_000_000.0))


def test_a_half_written_checkpoint_is_not_one(tmp_path: Path) -> None:
    """What a kill leaves: a folder under Orbax's temporary name."""
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, tree(), {})
    shutil.copytree(tmp_path / "1", tmp_path / "2.orbax-checkpoint-tmp")
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [1]
    assert not (tmp_path / "2.orbax-checkpoint-tmp").exists()


def test_what_threads_of_a_failed_save_still_write_is_removed_too(tmp_path: Path) -> None:
    left, written, given = tmp_path / "1.orbax-checkpoint-tmp", [], tree()

    def write() -> None:
        ends = time.monotonic() + 0.5
        while time.monotonic() < ends:
            with suppress(FileNotFoundError):
                left.mkdir(exist_ok=True)  # as TensorStore does
                (left / str(len(written))).write_bytes(b"")
                written.append(time.monotonic())

    with Checkpoints(tmp_path) as checkpoints:
        left.mkdir()
        for number in range(300):
            (left / f"old {number}").write_bytes(b"")
        writer = threading.Thread(target=write)
        writer.start()
        checkpoints.save(2, given, {})
        writer.join()
        assert checkpoints.steps() == [2] and written
    assert [path.name for path in tmp_path.iterdir()] == ["2"]


@pytest.mark.parametrize("room", [20_000, 10], ids=["the arrays", "every file"])
def test_a_write_that_fails_is_told_once_and_no_damage_to_what_is_there(tmp_path: Path, room: int) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, tree(1), {})
        checkpoints.wait()
        with files_of_at_most(room), pytest.raises(CheckpointError, match="File too large"):
            checkpoints.save(2, tree(2), {})
            checkpoints.latest(tree())
        found = checkpoints.latest(tree())
        assert found is not None and found.step == 1
        checkpoints.save(2, tree(2), {})
        checkpoints.wait()
        assert checkpoints.steps() == [1, 2]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


@pytest.mark.parametrize("damage", ["truncate", "remove", "metadata", "list"])
def test_damage_is_recognised_and_the_step_can_be_saved_again(tmp_path: Path, damage: str) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, tree(1), {})
        checkpoints.save(2, tree(2), {})
    data = max(
        (p for p in (tmp_path / "2" / "tree").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size
    )
    if damage == "truncate":
        data.write_bytes(data.read_bytes()[:1000])
    elif damage == "remove":
        data.unlink()
    elif damage == "metadata":
        (tmp_path / "2" / "metadata" / "metadata").write_text("{")
    else:
        (tmp_path / "2" / "files.json").unlink()
    with Checkpoints(tmp_path) as checkpoints:
        found = checkpoints.latest(tree())
        assert found is not None and found.step == 1 and same(found.tree, tree(1))
        checkpoints.save(2, tree(2), {})
        checkpoints.wait()
        assert checkpoints.steps() == [1, 2]


def test_other_arrays_are_refused_by_name(tmp_path: Path) -> None:
    save_params(tmp_path / "p", tree())
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, tree(), {})
        checkpoints.wait()
        other = tree() | {"count": jnp.zeros((2,), jnp.int32)}
        with pytest.raises(CheckpointError, match=r"\['count'\] is \[\[\], 'int32'\] there and \[\[2\]"):
            checkpoints.latest(other)
        with pytest.raises(CheckpointError, match="absent"):
            restore_params(tmp_path / "p", {"count": tree()["count"]})
        assert checkpoints.steps() == [1]


def test_weights_come_back_with_their_metadata_and_are_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "policies" / "1"
    assert not has_params(folder)
    with pytest.raises(CheckpointError, match="no weights at"):
        restore_params(folder, tree())
    save_params(folder, tree(1), {"iteration": 1})
    save_params(folder, tree(2), {"iteration": 2})
    params, metadata = restore_params(folder, tree())
    assert metadata == {"iteration": 2} and same(params, tree(2))
    assert [path.name for path in folder.parent.iterdir()] == ["1"]


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    save_params(tmp_path / "p", tree(1))
    (tmp_path / "p").rename(tmp_path / ".p.old")
    assert has_params(tmp_path / "p")
    assert same(restore_params(tmp_path / "p", tree())[0], tree(1))


def test_damaged_weights_are_an_error(tmp_path: Path) -> None:
    save_params(tmp_path / "p", tree())
    data = max((p for p in (tmp_path / "p").rglob("*") if p.is_file()), key=lambda p: p.stat().st_size)
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="damaged"):
        restore_params(tmp_path / "p", tree())


def test_a_disk_without_room_is_an_error_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_params(tmp_path / "p", tree(1))
    with Checkpoints(tmp_path / "c") as checkpoints:
        checkpoints.save(1, tree(1), {})
        checkpoints.wait()
        full_disk(monkeypatch)
        with pytest.raises(CheckpointError, match=r"disk full: .* needed"):
            checkpoints.save(2, tree(2), {})
        with pytest.raises(CheckpointError, match="disk full"):
            save_params(tmp_path / "p", tree(2))
        assert checkpoints.steps() == [1]
    assert same(restore_params(tmp_path / "p", tree())[0], tree(1))


def test_a_write_that_fails_half_way_leaves_what_was_there(tmp_path: Path) -> None:
    save_params(tmp_path / "p", tree(1))
    checkpoints = Checkpoints(tmp_path / "c")
    checkpoints.save(1, tree(1), {})
    checkpoints.wait()
    with files_of_at_most(20_000):
        with pytest.raises(CheckpointError, match=r"could not write weights to .*: File too large; what was"):
            save_params(tmp_path / "p", tree(2))
        with pytest.raises(CheckpointError, match="File too large; earlier checkpoints are untouched"):
            checkpoints.save(2, tree(2), {})
            checkpoints.wait()
    assert [path.name for path in tmp_path.glob("*p*")] == ["p"]
    assert same(restore_params(tmp_path / "p", tree())[0], tree(1))
    with Checkpoints(tmp_path / "c") as again:
        assert again.steps() == [1]


def test_one_write_that_fails_is_told_once_however_many_there_are(tmp_path: Path) -> None:
    program = [sys.executable, "-m", "tests.training.full_disk_program", str(tmp_path / "checkpoints")]
    done = subprocess.run(program, capture_output=True, text=True, timeout=120, check=True)
    failed, steps = done.stdout.splitlines()
    assert "File too large" in failed and steps == "[2]"
    assert "Event loop is closed" not in done.stderr


def test_arrays_are_written_however_large_one_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """More than is written at once, and more than the largest one before."""
    monkeypatch.setattr(saving, "_WRITTEN_AT_ONCE", 1000)
    with Checkpoints(tmp_path) as checkpoints:
        for step, size in enumerate((10, 250, 999, 70_000), start=1):
            given = [jnp.arange(float(size)), jnp.arange(200.0)]
            checkpoints.save(step, given, {})
            found = checkpoints.latest(given)
            assert found is not None and found.step == step and same(found.tree, given)


def test_on_cpu_saved_is_written(tmp_path: Path) -> None:
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, tree(), {})
        assert (tmp_path / "1" / FILES).exists()


def test_ctrl_c_does_not_end_the_waiting_for_what_is_being_written(tmp_path: Path) -> None:
    begun = threading.Event()

    def slowly() -> None:
        begun.set()
        time.sleep(1)

    def interrupt() -> None:
        begun.wait()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)

    saver = Saver(when_written=slowly)
    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        saver.save(tmp_path / "1", tree(), {})
    assert not (tmp_path / "1").exists()
    saver.close()
    assert (tmp_path / "1").exists()
