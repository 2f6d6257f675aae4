"""Evaluate a checkpoint or the base model, zero-shot or few-shot.

    python -m envisions_jax.evaluate --config=configs/quickstart.py --checkpoint=base --shots=3
    python -m envisions_jax.evaluate --config=configs/quickstart.py --checkpoint=runs/quickstart --tasks=svamp

A checkpoint is the work directory of a run (its newest policy), or what `model.path` takes: a Hugging Face
folder or id, a GGUF file, an alias. Decoding is the config's (`eval.*`), deterministic.
"""

import itertools
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

from absl import flags

from envisions_jax import command_line
from envisions_jax.command_line import RunError
from envisions_jax.config import Config, flatten, with_values
from envisions_jax.config_rules import ConfigError, check_model, validate
from envisions_jax.progress import Reporter
from envisions_jax.summary import percent
from envisions_jax.task_sets import given_tasks
from envisions_jax.workdir import WorkDir, read_config, write_atomically

if TYPE_CHECKING:
    from envisions_jax.domain import Domain
    from envisions_jax.policy import Policy


def main(config: Config, values: flags.FlagValues) -> int:
    """The exit code of an evaluation."""
    if not values.checkpoint:
        raise ConfigError("say what to evaluate: --checkpoint=base, or a run's work directory, or a model")
    config = with_values(config, {"tasks.test": tuple(values.tasks) or config.tasks.test})
    validate(flatten(with_values(config, {"prompt.shots": values.shots})))
    run = find_run(config, values.checkpoint)
    if run is None and values.checkpoint != "base":
        _check_folder(values.checkpoint)
        check_model(values.checkpoint, "checkpoint")
    elif run is None or not run.final.exists():  # else the base model is not needed, and may be gone
        check_model(config.model.path)
    output = Path(values.output or default_output(run, values.shots))
    _check_output(output)
    given = given_tasks(config, train=False)

    # Here, not above: what cannot work is told before JAX starts.
    from envisions_jax.domain import open_domain
    from envisions_jax.entry_points import speaking_errors
    from envisions_jax.stages.run import tokenizer_of

    reporter = Reporter()
    reporter.line(f"{values.checkpoint} is loaded, and what is not yet cached is compiled")
    with speaking_errors():
        policy, told = open_checkpoint(config, values.checkpoint, run)
        reporter.line(f"evaluating {told}")
        command_line.raise_on_interruption()
        with open_domain(config, given, tokenizer_of(policy)) as domain:
            by_set = evaluate_sets(config, policy, domain, values.shots)
    report = {
        "checkpoint": values.checkpoint,
        "policy": told,
        "config": config.name,
        "settings": flatten(config),
        "shots": values.shots,
        "sets": by_set,
    }
    try:
        write_atomically(output, json.dumps(report, indent=1) + "\n")
    except OSError as error:
        raise RunError(f"output={output}: cannot be written ({error.strerror})") from error
    reporter.line(f"written to {output}")
    return 0


def find_run(config: Config, checkpoint: str) -> WorkDir | None:
    """The run that `checkpoint` is the work directory of; None for the base model and any other model.

    Raises ConfigError if that run is of another base model or prompt style than `config`.
    """
    workdir = WorkDir(Path(checkpoint))
    if checkpoint == "base" or not workdir.store.exists():
        return None
    theirs, ours = read_config(workdir), flatten(config)
    for key in ("model.path", "prompt.style"):
        if theirs.get(key) != ours[key]:
            raise ConfigError(
                f"checkpoint={checkpoint!r}: is a run with {key}={theirs.get(key)!r}, --config has "
                f"{ours[key]!r}; give the config of that run"
            )
    return workdir


def open_checkpoint(config: Config, checkpoint: str, run: WorkDir | None) -> tuple["Policy", str]:
    """The policy that `checkpoint` names, and which one that is, for a reader.

    Raises ConfigError for a run without a policy.
    """
    from envisions_jax.entry_points import open_policy
    from envisions_jax.training import has_params, restore_params

    if run is None:
        if checkpoint == "base":
            return open_policy(config), "the base model"
        return open_policy(with_values(config, {"model.path": checkpoint})), f"the model {checkpoint}"
    if run.final.exists():
        final = with_values(config, {"model.path": str(run.final)})
        return open_policy(final), f"the last policy of {run.root}"
    kept_in = read_config(run).get("model.param_dtype", "float32")
    for iteration in run.policies():
        if has_params(run.policy(iteration)):
            base = open_policy(with_values(config, {"model.param_dtype": kept_in}))
            params, _ = restore_params(run.policy(iteration), base.params)
            told = f"the policy of iteration {iteration + 1} of {run.root}"
            return base.with_params(params), told
    raise ConfigError(f"checkpoint={checkpoint!r}: is a run in which no iteration has trained a policy yet")


def evaluate_sets(
    config: Config, policy: "Policy", domain: "Domain", shots: int
) -> dict[str, dict[str, object]]:
    """Accuracy and counts of outcomes by test set."""
    from envisions_jax.metrics import Judged, scores
    from envisions_jax.stages.evaluation import BASE, Exam, PromptKind, Test, examine, filed
    from envisions_jax.stages.run import check_lengths

    tests = [Test(name, task) for name, tasks in domain.test_sets.items() for task in tasks]
    check_lengths(config, policy, domain.prompts, [], [test.task for test in tests], shots)
    reporter = Reporter(bars=config.progress)
    report: dict[str, dict[str, object]] = {}
    kind: PromptKind = "few_shot" if shots else "zero_shot"
    tasks = [test.task for test in tests]
    exam = Exam(
        prompts=domain.prompts,
        shots=shots,
        interaction=domain.interaction,
        config=config,
        tasks=len(tests),
    ).planned(policy, tasks)
    with reporter.stage("evaluate", exam.interaction.turns * len(tests)) as advance:
        answers = examine(policy, exam, domain.environment, tests, advance)
    results = filed(domain.prompts, tests, answers, BASE, kind)
    answered = {(test.set_name, test.task.id): test.task.answer for test in tests}
    for name in domain.test_sets:
        own = [one for one in results if one.test_set == name]
        outcomes = [one.outcome for one in own]
        told = scores({name: [Judged(answered[name, one.task_id], one.outcome, one.error) for one in own]})
        share, by_label = told.accuracy[name], told.accuracy_by_label.get(name, {})
        labels = "".join(f", {label} {percent(part)}" for label, part in by_label.items())
        reporter.line(f"{name}: {percent(share)} of {len(outcomes)}{labels}, {shots} shots")
        counts = {outcome: outcomes.count(outcome) for outcome in dict.fromkeys(outcomes)}
        report[name] = {"accuracy": share, "tasks": len(outcomes), "outcomes": counts}
        if by_label:
            report[name] |= {"accuracy_by_label": by_label, "vacuous": told.vacuous[name]}
    return report


def _check_folder(checkpoint: str) -> None:
    """Raise ConfigError for what looks like a path of this machine, and is none."""
    path = Path(checkpoint).expanduser()
    is_local = path.parent == Path("runs") or (path.parent != Path() and path.parent.is_dir())
    if is_local and not path.exists():
        raise ConfigError(f"checkpoint={checkpoint!r}: there is no such run or model in {path.parent}")


def default_output(run: WorkDir | None, shots: int) -> Path:
    """A new file beside the run that was evaluated, or here: an earlier evaluation is not written over."""
    folder = run.root if run else Path()
    output = folder / f"evaluation-{shots}shot.json"
    for number in itertools.count(2):
        if not output.exists():
            break
        output = folder / f"evaluation-{shots}shot-{number}.json"
    return output


def _check_output(output: Path) -> None:
    """Raise ConfigError, before anything is computed, if the report could not be written."""
    if output.is_dir():
        raise ConfigError(f"output={output}: is a folder; name a file")
    if not output.parent.is_dir():
        raise ConfigError(f"output={output}: there is no folder {output.parent}; make it first")
    if not os.access(output.parent, os.W_OK | os.X_OK):
        raise ConfigError(f"output={output}: {output.parent} cannot be written; choose another")


def _define_flags() -> None:
    flags.DEFINE_string("checkpoint", "", "base, a run's work directory, or a model")
    flags.DEFINE_integer("shots", 0, "demonstrations in the prompt", lower_bound=0)
    flags.DEFINE_list("tasks", [], "test sets, instead of the config's")
    flags.DEFINE_string(
        "output", "", "JSON file to write; by default a new one in the run's folder, or here if it is no run"
    )


if __name__ == "__main__":
    command_line.run(main, _define_flags)
