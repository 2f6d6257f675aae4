"""How every entry point reads its command line, and how it ends when something is wrong.

`run` parses absl flags, builds the validated `Config` and calls the program. What the user can put right
ends in one line on standard error, never in a traceback: exit code 2 for a command or configuration that
cannot work, 1 for what failed on the way (weights, disk, data), 130 for an interruption. A defect of this
project is none of these and keeps its traceback.
"""

import errno
import os
import re
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from logging import ERROR, LogRecord
from pathlib import Path
from types import FrameType, TracebackType
from typing import Any, NoReturn

from absl import app, flags, logging
from ml_collections import config_flags

from envisions_jax.config import Config, check_key, from_config_dict
from envisions_jax.config_rules import ConfigError
from envisions_jax.memory import restart_with_huge_pages

INTERRUPTED = 130  # the exit code; shells give it to what Ctrl-C ended

Program = Callable[[Config, flags.FlagValues], int]

# Of a GPU's memory, for JAX; the rest is the runtime's own, and that of the libraries for collectives. JAX's
# default is 0.75. What the user has set stays.
GPU_SHARE = 0.92
_SHARES = ("XLA_CLIENT_MEM_FRACTION", "XLA_PYTHON_CLIENT_MEM_FRACTION")

# XLA's words for devices that are threads of one CPU, for how long one waits for the others, and for the
# threads that they compute and exchange on, all together.
_FAKE_DEVICES = re.compile(r"--xla_force_host_platform_device_count=(\d+)")
_PATIENCE = "--xla_cpu_collective_call_terminate_timeout_seconds"
_THREADS = "PJRT_NPROC"
THREADS_PER_DEVICE = 8

# What the file system refuses to any program; with a path, there is nothing to mend in this one.
_OF_THE_MACHINE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO, errno.ESTALE}
    | {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP}
)


class RunError(RuntimeError):
    """A run that cannot go on for a reason outside the program; its message tells the user what to do."""


class LostProcessError(RunError):
    """Another process of this run is no longer there. JAX would wait for it at the end."""


def run(program: Program, define: Callable[[], None]) -> None:
    """Run `program(config, flags)` with `--config` and the flags that `define` adds; never returns.

    Ctrl-C ends it at once until it calls `raise_on_interruption`.
    """
    restart_with_huge_pages()
    if not any(os.environ.get(name) for name in _SHARES):
        os.environ[_SHARES[0]] = str(GPU_SHARE)
    os.environ |= for_fake_devices(os.environ)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _leave)
    ours = _defined_by(_define_config) | _defined_by(define)
    if {"--help", "-h", "-help", "--helpfull", "--helpshort"} & set(sys.argv[1:]):
        sys.exit(_help(ours))

    def main(_: list[str]) -> int:
        code = guard(lambda: program(_config(), flags.FLAGS))
        if code == INTERRUPTED:
            leave_at_once(code)
        return code

    app.run(main, flags_parser=_parse)


def for_fake_devices(environment: Mapping[str, str], patience_s: int = 1200) -> dict[str, str]:
    """What fake devices need besides what `environment` has: nothing where its XLA_FLAGS ask for none.

    They share a CPU's cores, and by default XLA aborts when one is 40 s late; here after `patience_s`. And by
    default they have a thread each, on which several exchanges of a device begin at once and each waits for
    the same of all others: with the threads taken by some, the others never begin, and all wait for ever.
    """
    flags_of_xla = environment.get("XLA_FLAGS", "")
    if not (asked := _FAKE_DEVICES.findall(flags_of_xla)):
        return {}
    added = {}
    if _PATIENCE not in flags_of_xla:
        added["XLA_FLAGS"] = f"{flags_of_xla} {_PATIENCE}={patience_s}"
    if _THREADS not in environment:
        added[_THREADS] = str(max(THREADS_PER_DEVICE * int(asked[-1]), os.cpu_count() or 1))
    return added


def raise_on_interruption() -> None:
    """From here on Ctrl-C raises KeyboardInterrupt, as is usual: there is something to put in order."""
    if signal.getsignal(signal.SIGINT) is _leave:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        interrupt_again_what_ignored_it()


def interrupt_again_what_ignored_it() -> None:
    """Python drops what is raised in a callback of its garbage collector, and JAX has one: Ctrl-C while a
    program was compiled went unheard. From here on it is raised again, until it is heard.
    """
    say = sys.unraisablehook

    def hook(what: Any) -> None:  # sys.UnraisableHookArgs
        if not isinstance(what.exc_value, KeyboardInterrupt):
            say(what)
            return
        # Later, when the callback has ended; not from this thread, where it would be raised in here.
        again = threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGINT))
        again.daemon = True
        again.start()

    sys.unraisablehook = hook


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """What is loading a library is not to meet an exception: some swallow it, some break."""
    os.write(2, b"error: interrupted before anything was begun\n")
    os._exit(INTERRUPTED)


def _define_config() -> None:
    config_flags.DEFINE_config_file("config", help_string="configs/<name>.py[:variant]", lock_config=True)


def _defined_by(define: Callable[[], None]) -> dict[str, str]:
    """Name → meaning of the flags that `define` adds."""
    before = set(flags.FLAGS)
    define()
    return {name: flags.FLAGS[name].help for name in sorted(set(flags.FLAGS) - before)}


def _help(meanings: dict[str, str]) -> int:
    """What the program does and the flags it has; absl's own page lists those of its libraries too."""
    print((sys.modules["__main__"].__doc__ or "").strip(), end="\n\n")
    meanings = meanings | {
        "config.<section>.<key>": "overrides a key; envisions_jax/config.py lists them all"
    }
    for name, meaning in meanings.items():
        print(f"  --{name}={'VALUE' if '<' in name else name.upper()}\n        {meaning}")
    return 0


def guard(program: Callable[[], int]) -> int:
    """The exit code of `program()`, with the errors that users can put right told in one line."""
    try:
        return program()
    except KeyboardInterrupt:
        return fail("interrupted; run the same command again to go on where it was", INTERRUPTED)
    except ConfigError as error:
        return fail(error, 2)
    except LostProcessError as error:
        leave_at_once(fail(error, 1))
    except RunError as error:
        return fail(error, 1)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            return fail(f"{error}: make room on the disk, then run the same command again to go on", 1)
        if error.errno not in _OF_THE_MACHINE or not error.filename:
            raise
        return fail(f"{error.filename}: {error.strerror}; when that is mended, run the same command again", 1)


def leave_at_once(code: int) -> NoReturn:
    """End the process without what Python does at its end: other threads may still be in a program that was
    interrupted (which ended with a segmentation fault), and JAX would wait for processes that are lost.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # another one would end it as Python does
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):  # who reads it may have gone
            stream.flush()
    os._exit(code)


def fail(problem: object, code: int) -> int:
    """Tell `problem` in one line on standard error and give `code` back."""
    print("error:", " ".join(str(problem).split()), file=sys.stderr, flush=True)
    return code


def _parse(argv: Sequence[str]) -> list[str]:
    """Parse the flags; `ml_collections` and `absl` raise their own errors, which become one line each."""
    try:
        _check_overrides(argv)
        rest: list[str] = flags.FLAGS(argv)
        if len(rest) > 1:
            raise flags.Error(f"unexpected argument {rest[1]!r}")
    except (flags.Error, AttributeError, KeyError, TypeError, ValueError, OSError) as error:
        sys.exit(fail(_last_line(error), 2))
    except Exception as error:  # a config file is the user's program: it runs here and may raise anything
        sys.exit(fail(f"--config: {_origin(error)}{type(error).__name__}: {_last_line(error)}", 2))
    verbosity = flags.FLAGS["verbosity"]
    if verbosity.using_default_value:  # or absl makes it INFO, and Orbax tells its life
        verbosity.value, verbosity.using_default_value = logging.WARNING, False
        logging.get_absl_logger().addFilter(_is_not_raised_too)
        say_nothing_of_closed_loops()
    return rest


def _is_not_raised_too(record: LogRecord) -> bool:
    """Orbax logs what fails in its threads with a traceback for each, and raises the first."""
    return not (record.levelno == ERROR and record.exc_info and "/orbax/" in record.pathname)


def say_nothing_of_closed_loops() -> None:
    """Orbax closes its event loop at the first write that fails, which is raised. That the others find it
    closed, in threads of TensorStore and when they are collected, is not told as Python would.
    """
    say, say_ignored = sys.excepthook, sys.unraisablehook

    def is_that(error: BaseException | None) -> bool:
        return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"

    def hook(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        # What ends the main thread is told whatever it is: it may be of Playwright's loop.
        if threading.current_thread() is threading.main_thread() or not is_that(error):
            say(kind, error, trace)

    sys.excepthook = hook
    sys.unraisablehook = lambda what: None if is_that(what.exc_value) else say_ignored(what)


def _check_overrides(argv: Sequence[str]) -> None:
    """Refuse `--config.<unknown key>=…` with its name and value, which ml_collections would not tell."""
    for argument in argv:
        key, equals, value = argument.removeprefix("--config.").partition("=")
        if argument.startswith("--config.") and equals:
            check_key(key, value)


def _config() -> Config:
    """The validated config of `--config`. Raises ConfigError."""
    if not flags.FLAGS["config"].present:
        raise ConfigError("say what to run: --config=configs/quickstart.py")
    try:
        plain = flags.FLAGS.config.to_dict()
    except OSError as error:  # ml_collections reports a missing file only when the config is first used
        told = _last_line(error).partition("[Errno ")[2].partition("] ")[2] or _last_line(error)
        there = ", ".join(sorted(map(str, Path("configs").glob("[!_]*.py"))))
        raise ConfigError(f"--config: {told}" + (f"; there are {there}" if there else "")) from error
    except AttributeError as error:
        kind = type(flags.FLAGS.config).__name__
        raise ConfigError(f"--config: get_config() gave {kind}, must give a ConfigDict") from error
    return from_config_dict(plain)


def _last_line(error: Exception) -> str:
    """The line of a message that says what happened; the lines above it are a quoted traceback."""
    text = error.args[0] if isinstance(error, KeyError) and error.args else error
    lines = [line.strip() for line in str(text).splitlines() if line.strip()]
    last = lines[-1] if lines else type(error).__name__
    return last.removeprefix(f"{ConfigError.__module__}.{ConfigError.__name__}: ")


def _origin(error: Exception) -> str:
    """Where it was raised, "configs/mine.py, line 12: "; a SyntaxError says that itself."""
    if isinstance(error, SyntaxError):
        return ""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{last.filename}, line {last.lineno}: "
