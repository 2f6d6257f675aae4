"""Two finished runs side by side: `python -m envisions_jax.compare runs/quickstart runs/quickstart-control`.

Accuracy by policy and test set in both runs and the difference in percentage points; and which settings
differ, so that nobody compares what cannot be compared.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from envisions_jax.command_line import fail, guard
from envisions_jax.config import UNESSENTIAL, Config, flatten
from envisions_jax.config_rules import ConfigError
from envisions_jax.metrics import MetricsError, read_metrics
from envisions_jax.progress import Reporter
from envisions_jax.summary import MEAN, Record, demonstrations, mean_accuracy, percent, policies, test_sets
from envisions_jax.workdir import WorkDir, read_config


def main(arguments: Sequence[str]) -> int:
    """The exit code of the comparison."""
    if set(arguments) & {"--help", "-h", "-help"}:
        print(str(__doc__).strip())
        return 0
    if len(arguments) != 2 or any(argument.startswith("-") for argument in arguments):
        return fail("say which two runs: python -m envisions_jax.compare RUN OTHER_RUN", 2)
    return guard(lambda: _compare(*map(Path, arguments)))


def _compare(first: Path, second: Path) -> int:
    if first.resolve() == second.resolve():
        raise ConfigError(f"{first} and {second}: are the same run; give two")
    configs = [read_config(WorkDir(path)) for path in (first, second)]
    records = [
        finished_records(WorkDir(path), config) for path, config in zip((first, second), configs, strict=True)
    ]
    reporter = Reporter(bars=False)
    reporter.show(comparison_table(records[0], records[1], first.name, second.name))
    differ = different_keys(*configs)
    for key in differ:
        reporter.line(
            f"{key}: {configs[0].get(key)!r} in {first.name}, {configs[1].get(key)!r} in {second.name}"
        )
    for workdir, own in zip((first, second), records, strict=True):
        if count := demonstrations(own):
            reporter.line(f"{workdir.name}: cold start on {count} demonstrations")
    if not differ:
        reporter.line("both runs have the same settings")
    return 0


def finished_records(workdir: WorkDir, config: dict[str, Any]) -> list[Record]:
    """The metrics of a finished run. Raises ConfigError for one that is not."""
    try:
        records = read_metrics(workdir.metrics)
    except FileNotFoundError:
        raise ConfigError(f"{workdir.root}: has no metrics yet; run it first") from None
    except MetricsError as error:
        raise ConfigError(str(error)) from error
    done, wanted = sum(r["kind"] == "iteration" for r in records), config["loop.iterations"]
    if done < wanted:
        raise ConfigError(f"{workdir.root}: has {done} of {wanted} iterations; run the same command to go on")
    return list(records)


def comparison_table(first: Sequence[Record], second: Sequence[Record], *runs: str) -> Table:
    """Policy and test set by accuracy in both runs, and the second's minus the first's in points."""
    table = Table(title=" and ".join(runs))
    for heading in ("policy", "test set", *runs, "difference"):
        table.add_column(heading, justify="left" if heading in ("policy", "test set") else "right")
    left, right = policies(first), policies(second)
    for policy in dict.fromkeys([*left, *right]):
        names = list(dict.fromkeys([*test_sets(first), *test_sets(second)]))
        for name in names:
            values = [side.get(policy, {}).get(name) for side in (left, right)]
            table.add_row(policy, name, *map(percent, values), _points(*values))
        if len(names) > 1:
            means = [mean_accuracy(side.get(policy, {})) for side in (left, right)]
            table.add_row(policy, MEAN, *map(percent, means), _points(*means))
    return table


def different_keys(first: dict[str, Any], second: dict[str, Any]) -> list[str]:
    """Settings that may matter and are not the same; what there was not yet had what is its default now."""
    default = flatten(Config())
    first, second = default | first, default | second
    return [key for key in sorted(first.keys() - UNESSENTIAL) if first[key] != second.get(key)]


def _points(first: float | None, second: float | None) -> str:
    return "-" if first is None or second is None else f"{100 * (second - first):+.1f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
