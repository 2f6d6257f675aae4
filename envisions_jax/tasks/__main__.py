"""What data sets there are, how large they are beside the paper's, and what their tasks look like.

COMMAND  python -m envisions_jax.tasks                             the table; sets that cannot be had say why
         python -m envisions_jax.tasks --path ~/data               from local <name>_<split>.jsonl[.gz] files
         python -m envisions_jax.tasks --name generated --show 5   five tasks of one set
"""

import argparse
import os
import sys
import textwrap
from collections.abc import Sequence

from envisions_jax.tasks import MADE, NAMES, TaskError, load
from envisions_jax.tasks.generated import STORIES
from envisions_jax.tasks.real import COMPAT, REAL_SETS
from envs import Task


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints the table or the samples; returns the exit code: 2 for what the user must change."""
    parser = argparse.ArgumentParser(prog="python -m envisions_jax.tasks", description="Show the data sets.")
    parser.add_argument("--name", help=f"only this data set: {', '.join(NAMES)}")
    parser.add_argument(
        "--split", help="of the tasks shown: train (the default), test, all or a slice such as train[:700]"
    )
    parser.add_argument("--path", help="local JSON Lines file, or folder of <name>_<split>.jsonl files")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print N tasks")
    parser.add_argument("--seed", type=int, default=0, help="of the generator and of the sample shown")
    parser.add_argument("--level", default="easy", help="of the generator: easy or hard")
    parser.add_argument("--compat", choices=COMPAT, default="paper", help="reference: authors' labels")
    given = parser.parse_args(arguments)
    name = given.name or "generated"
    try:
        if given.show < 1:
            if given.split is not None:
                raise TaskError(f"--split={given.split} is of the tasks that --show=N prints; give that too")
            readable = _print_table([given.name] if given.name else NAMES, given.path, given.compat)
            if given.path is not None and not readable:
                raise TaskError(f"--path={given.path}: nothing there can be read, see above")
            return 0
        made = {"generated": {"level": given.level}, "theories": {}}
        options = made.get(name.partition(":")[0], {"compat": given.compat})
        tasks = load(name, given.split or "train", given.path, given.show, given.seed, **options)
    except TaskError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for task in tasks:
        print(_told(task))
    return 0


def _told(task: Task) -> str:
    """A task for a reader; what its meta has of several lines comes last."""
    plain = {key: value for key, value in task.meta.items() if "\n" not in str(value)}
    long = [f"{key}:\n{value}" for key, value in task.meta.items() if key not in plain]
    parts = [task.context, task.question, f"answer {task.answer}   {plain}", *long]
    text = textwrap.indent("\n".join(filter(None, parts)), "  ")
    return f"{task.id}\n{text}\n"


def _print_table(names: Sequence[str], path: str | None, compat: str) -> int:
    """One row a set and split; returns how many of the real ones could be read."""
    readable = 0
    row = "{:<11} {:<6} {:>7} {:>7}  {}"
    print(row.format("name", "split", "here", "paper", "used"))
    for name in names:
        if name not in NAMES:
            raise TaskError(f"no data set is called {name!r}; there are {', '.join(NAMES)}")
        if name in MADE:
            for part, stories in STORIES.items():
                kinds = f"{len(stories)} templates" if name == "generated" else "facts, rules and a statement"
                print(row.format(name, part, "any", "", f"{kinds}, as many tasks as asked for"))
            continue
        real = REAL_SETS[name]
        for split, expected in real.paper_counts.items():
            here, note = "-", real.subset
            try:
                here = str(len(load(name, split, path, compat=compat)))
                readable += 1
            except TaskError as error:
                note = str(error)
            print(row.format(name, split, here, expected, note))
    return readable


if __name__ == "__main__":
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:  # `| head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    sys.exit(code)
