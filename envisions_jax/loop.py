"""The method, ENVISIONS (arXiv 2406.11736, section 2 and its algorithm): a policy teaches itself.

    for each iteration i:   explore -> execute -> refine -> self-reward -> filter -> pool -> select
                            -> train from theta_0 -> evaluate

Read it beside the paper; each step says where it is done. Every stage commits its results to the store as
they come and skips what is there already, so `run_loop` after a crash goes on where the run was and ends the
same.
"""

from envisions_jax.metrics import iteration_metrics
from envisions_jax.stages.candidates import explore, refine
from envisions_jax.stages.cold_start import cold_start
from envisions_jax.stages.evaluation import evaluate
from envisions_jax.stages.learning import (
    export_final,
    forget_old_policies,
    kept_demonstrations,
    make_trainer,
    policy_of,
    select_examples,
    train,
    training_examples,
)
from envisions_jax.stages.run import Run
from envisions_jax.store.records import BASE
from envisions_jax.summary import iteration_line
from envisions_jax.training import Trainer


def run_loop(run: Run) -> None:
    """All iterations of a run, from wherever an earlier start left it."""
    for name, tasks in run.test_sets.items():
        run.store.add_tasks(name, tasks)
    trainer = make_trainer(run)

    # ---- The base model theta_0, for comparison --------------------------------------------------
    if run.config.eval.base and not run.store.is_done(BASE, "base"):
        zero, few = (evaluate(run, BASE, run.base, kind).to_dict() for kind in ("zero_shot", "few_shot"))
        base = {name: {"zero_shot": zero[name], "few_shot": few[name]} for name in zero}
        run.metrics.write("base", base, iteration=BASE, time_s=run.clock.seconds(BASE))
        run.store.mark_done(BASE, "base")

    # ---- Cold start: theta_0 learns the language from demonstrations, if prompts are not enough ---
    if run.config.loop.cold_start == "demonstrations":
        cold_start(run, trainer)

    for iteration in range(run.config.loop.iterations):
        if not run.store.is_done(iteration, "iteration"):
            run_iteration(run, trainer, iteration)
        forget_old_policies(run, iteration)  # also of one that is done: the kill may have come before it

    # ---- The last policy, as a folder that other programs load -----------------------------------
    export_final(run)


def run_iteration(run: Run, trainer: Trainer, iteration: int) -> None:
    """One iteration, from wherever an earlier start left it."""
    run.store.add_tasks("train", run.train_tasks.explored(iteration))

    # ---- 1, 2, 4. Explore: K candidates a task from theta_i; execute; self-reward ----------------
    policy = policy_of(run, iteration - 1)  # in iteration 0 the base model, or that of the cold start
    explore(run, iteration, policy)

    # ---- 3, 2, 4. Refine each candidate; execute; self-reward under the task prompt --------------
    if iteration >= 1 and run.config.loop.refine:
        refine(run, iteration, policy)

    # ---- 5. Filter, 6. Pool, 7. Select: the sets of L1 and L2 ------------------------------------
    chosen = select_examples(run, iteration)

    # ---- 8. Train from theta_0 on L = L1 + L2 ----------------------------------------------------
    start = policy if run.config.train.continual else run.base
    del policy  # two sets of weights are enough while training
    examples = training_examples(run, iteration, chosen)
    policy = train(run, trainer, iteration, start, examples)
    del start

    # ---- 9. Evaluate theta_(i+1), zero-shot ------------------------------------------------------
    scores = evaluate(run, iteration, policy)
    policy.forget()  # the next iteration reads it again

    # ---- What the iteration was worth ------------------------------------------------------------
    numbers = iteration_metrics(
        run.store.trajectories(up_to=iteration, tokens=False),
        run.store.kept(iteration),
        iteration=iteration,
        l1_examples=len(chosen.l1),
        l2_examples=len(chosen.l2),
        shortened=examples.shortened,
        dropped=examples.dropped,
        demonstrations=kept_demonstrations(run),
        scores=scores,
    ).to_dict()
    seconds = run.clock.seconds(iteration)
    run.metrics.write("iteration", numbers, iteration=iteration, time_s=seconds)
    run.reporter.line(iteration_line(numbers, run.config.loop.iterations, seconds))
    run.store.mark_done(iteration, "iteration")
