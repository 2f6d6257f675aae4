"""Run an experiment: `python -m envisions_jax.main --config=configs/quickstart.py --workdir=runs/quickstart`.

The same command goes on with a run that was interrupted. Checks come first, in the order of their cost:
command line, config, work directory, place of the model, tasks, the model itself, prompt lengths; nothing is
written before all of them have passed.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import TYPE_CHECKING

from absl import flags

from envisions_jax import __version__, command_line
from envisions_jax.command_line import INTERRUPTED, RunError
from envisions_jax.config import Config, flatten
from envisions_jax.config_rules import ConfigError, check_model
from envisions_jax.progress import Reporter
from envisions_jax.store import StoreCorruptError, StoreError, TrajectoryStore, check_free
from envisions_jax.task_sets import GivenTasks, given_tasks
from envisions_jax.workdir import WorkDir, check_workdir, create_workdir, identity, replica

if TYPE_CHECKING:
    from envisions_jax.stages.run import Run

SHARED_S = 30  # that a network's file system may take to show one process what another wrote
FAILING_S = 10  # that a process which cannot go on waits for the others to tell why they cannot
# What hosts may have more or less of, or by another name.
OF_EACH_PROCESS = frozenset(
    {"env.workers", "sampler.slots", "progress", "tensorboard", "model.path", "tasks.path", "web.chromium"}
)


def main(config: Config, values: flags.FlagValues) -> int:
    """The exit code of a whole run."""
    if not values.distributed:
        return run(config, values)
    # Before all else: who does not take part, the others would wait for.
    writes = _join()
    try:
        code = command_line.guard(lambda: run(config, values, writes=writes))
        if code == 0:
            _end_together()
            return 0
    except BaseException:
        traceback.print_exc()
        code = 1
    if code != INTERRUPTED:
        _fail_together()
    # At once: JAX would wait for the others, who do not end by themselves.
    command_line.leave_at_once(code)


def run(config: Config, values: flags.FlagValues, *, writes: bool = True) -> int:
    """`main` in one process; `writes`: is it the one that writes?"""
    if values.distributed:
        from envisions_jax.entry_points import speaking_errors

        with speaking_errors():
            check_alike(config, dry_run=values.dry_run)
    workdir = check_workdir(values.workdir or f"runs/{config.name}", config)
    check_model(config.model.path)
    if writes:
        try:
            check_free(workdir.store)
        except StoreError as error:
            raise RunError(str(error)) from error
    given = given_tasks(config)
    reporter = Reporter(bars=config.progress, quiet=not writes)
    if values.dry_run:
        return dry_run(config, reporter)
    reporter.line(f"{config.name}: {given.told}, in {workdir.root}")

    # Here, not above: what cannot work is told before JAX starts.
    from envisions_jax.entry_points import speaking_errors

    with speaking_errors():
        execute(config, workdir, given, reporter)
    return 0


def _join() -> bool:
    """Join the other processes of the run; is this the one that writes?"""
    from envisions_jax import hosts
    from envisions_jax.joining import HostsError, VariablesError

    try:
        hosts.start()
    except VariablesError as error:
        raise ConfigError(str(error)) from error
    except HostsError as error:
        raise RunError(str(error)) from error
    return hosts.is_first()


def _end_together() -> None:
    from envisions_jax import hosts

    hosts.gather("done")


def _fail_together() -> None:
    """Wait for the others for a moment: who is told of a lost process first cannot tell its own reason."""
    from envisions_jax import hosts
    from envisions_jax.joining import HostsError

    with suppress(HostsError):  # they go on, until they miss this one
        hosts.meet("envisions_jax/failed", FAILING_S * 1000)
    if hosts.is_first():  # whose end JAX ends the others for: they are about to
        time.sleep(1)


def check_alike(config: Config, *, dry_run: bool) -> None:
    """Raises ConfigError unless all processes of this run were given the same command."""
    from envisions_jax import hosts

    told = {"version": __version__, "dry_run": dry_run} | flatten(config)
    first, *others = hosts.gather(told)
    for number, own in enumerate(others, start=1):
        for name in sorted((first.keys() | own.keys()) - OF_EACH_PROCESS):
            if own.get(name) != first.get(name):
                raise ConfigError(
                    f"the processes of this run were not given the same command: {name} is {first.get(name)} "
                    f"in the first and {own.get(name)} in process {number}"
                )


def dry_run(config: Config, reporter: Reporter) -> int:
    """Compile all programs for the devices that are here, and tell what they take; nothing is written."""
    from envisions_jax.plan.__main__ import DOES_NOT_FIT, make_plan

    fits, _ = make_plan(config, None, "all", reporter)
    return 0 if fits else DOES_NOT_FIT


def execute(config: Config, workdir: WorkDir, given: GivenTasks, reporter: Reporter) -> None:
    """Open everything, run the loop, and tell how it went."""
    from envisions_jax import hosts
    from envisions_jax.clock import compiled_programs
    from envisions_jax.entry_points import told_devices
    from envisions_jax.loop import run_loop
    from envisions_jax.memory import peak_memory_gib, spare_garbage_collector
    from envisions_jax.stages.run import reckon

    total = config.loop.iterations
    done, has_final = hosts.on_first(lambda: (iterations_done(config, workdir), workdir.final.exists()))
    if done == total and (has_final or not config.checkpoint.export):
        reporter.line(f"all {total} iterations are done: nothing is left to do")
        tell_results(config, workdir, reporter)
        return
    is_new = hosts.on_first(lambda: not workdir.store.exists())
    verb = "starting" if is_new else f"{done} of {total} iterations done, going on"
    reporter.line(f"{verb}: {config.model.path} is loaded, and what is not yet cached is compiled")
    spare_garbage_collector()
    with open_run(config, workdir, given, reporter) as run:
        reporter.line(told_devices(run.base))
        reporter.line(reckon(run).told)
        if is_new:
            hosts.on_first(lambda: check_room(run))
        run_loop(run)
    if not hosts.is_first():
        return
    tell_results(config, workdir, reporter)
    reporter.line(f"{compiled_programs()} programs compiled, peak memory {peak_memory_gib():.1f} GiB")


def check_room(run: Run) -> None:
    """Raises RunError if not even one policy can be kept, which would be found out after hours."""
    from envisions_jax.training.stored_tree import CheckpointError, require_space

    try:
        require_space(run.workdir.root, run.base.params)
    except CheckpointError as error:
        raise RunError(
            f"{run.workdir.root}: {error}, for one policy; make room, then run the same command again"
        ) from error


@contextmanager
def open_run(config: Config, workdir: WorkDir, given: GivenTasks, reporter: Reporter) -> Iterator[Run]:
    """A run whose model is loaded and whose store and environment are open, until the context ends.

    Raises ConfigError for a model that the config does not go with, and what opening its parts raises.
    """
    from envisions_jax import hosts
    from envisions_jax.clock import Clock
    from envisions_jax.domain import open_domain
    from envisions_jax.entry_points import open_policy
    from envisions_jax.metrics import MetricsWriter
    from envisions_jax.stages.run import Run, check_adapters, check_ending, check_lengths, tokenizer_of

    base = open_policy(config)
    check_ending(base)
    check_adapters(config, base.config)
    command_line.raise_on_interruption()
    with ExitStack() as stack:
        domain = stack.enter_context(open_domain(config, given, tokenizer_of(base)))
        tests = [task for group in domain.test_sets.values() for task in group]
        shots = config.prompt.shots if config.eval.base else 0
        # Pages of later iterations are observed when they are asked for.
        last = 0 if config.env.name == "web" else config.loop.iterations - 1
        check_lengths(config, base, domain.prompts, domain.train_tasks.known(last), tests, shots)
        # The store refuses another run's lock and a newer version: open it before anything is written.
        settings, defaults = identity(config), identity(Config())
        own, opened = workdir, list[TrajectoryStore]()

        def open_store(at: WorkDir) -> TrajectoryStore:
            opened.append(TrajectoryStore(at.store, config=settings, defaults=defaults))
            return stack.enter_context(opened[0])

        def open_first() -> bytes:
            there = open_store(workdir)
            return there.serialized() if hosts.count() > 1 else b""

        content = hosts.on_first(open_first)
        if not hosts.is_first():
            own = stack.enter_context(replica(content))
            open_store(own)
        [store] = opened
        hosts.on_first(lambda: create_workdir(workdir, config))
        check_shared(workdir)
        yield Run(
            config=config,
            workdir=workdir,
            base=base,
            prompts=domain.prompts,
            environment=domain.environment,
            test_environment=domain.test_environment,
            interaction=domain.interaction,
            train_tasks=domain.train_tasks,
            test_sets=domain.test_sets,
            demonstrations=domain.demonstrations,
            store=store,
            metrics=stack.enter_context(
                MetricsWriter(own.root, tensorboard=config.tensorboard and hosts.is_first())
            ),
            clock=Clock(own.times),
            reporter=reporter,
        )


def check_shared(workdir: WorkDir) -> None:
    """Raises RunError unless the folder that the first process has made is that of all."""
    from envisions_jax import hosts

    end = time.monotonic() + SHARED_S
    while not workdir.config.exists() and time.monotonic() < end:
        time.sleep(0.5)
    for number, is_there in enumerate(hosts.gather(workdir.config.exists())):
        if not is_there:
            raise RunError(
                f"--workdir: what the first process wrote to {workdir.root} is not there in process {number};"
                " give all the same folder, on a file system that all of them share"
            )


def iterations_done(config: Config, workdir: WorkDir) -> int:
    """How many iterations an earlier start has finished."""
    if not workdir.store.exists():
        return 0
    try:
        with TrajectoryStore(workdir.store, read_only=True) as store:
            return sum(store.is_done(number, "iteration") for number in range(config.loop.iterations))
    except StoreCorruptError:  # an empty file of a start that was killed; what is damaged is told later
        return 0


def tell_results(config: Config, workdir: WorkDir, reporter: Reporter) -> None:
    """The tables of a run, and where it is."""
    from envisions_jax.metrics import read_metrics
    from envisions_jax.summary import final_table, table_of_labels, table_of_sets, table_of_times

    records = read_metrics(workdir.metrics)
    reporter.show(table_of_times(records, f"{config.name}: time"))
    if by_set := table_of_sets(records, f"{config.name}: test sets"):
        reporter.show(by_set)
    if by_label := table_of_labels(records, f"{config.name}: labels"):
        reporter.show(by_label)
    reporter.show(final_table(records, config.name))
    reporter.line(f"all of it is in {workdir.root}")


def _define_flags() -> None:
    flags.DEFINE_string("workdir", "", "where the run lives; the default is runs/<name of the config>")
    flags.DEFINE_boolean("distributed", False, "one of several processes, on as many hosts (docs/scaling.md)")
    flags.DEFINE_boolean(
        "dry_run", False, "compile all programs, tell what memory they take, and run nothing"
    )


if __name__ == "__main__":
    command_line.run(main, _define_flags)
