"""The cold start: what is the policy of iteration 0, where theta_0 cannot be prompted to explore.

The paper shows theta_0 a few demonstrations in iteration 0. A small model may not follow them at all, and
then nothing is ever solved and nothing learned. With `loop.cold_start = "demonstrations"` theta_0 is trained
for a moment on n gold programs of generated tasks, and what comes out explores iteration 0, zero-shot as all
later policies do. What follows from that for the method:

- Every iteration still trains from theta_0, not from the policy of the cold start: that would give it more
  steps than the n programs are worth, and make the order of what was learned matter. (With `train.continual`
  it is the policy before, which in iteration 0 is that of the cold start.)
- So the n demonstrations stay in the training set of every iteration, as L1 examples beside those explored:
  they are what is given of the language, as the prompt's are to the paper's iteration 0, and without them a
  policy would know less of it than the one before. Each later policy has seen these, and nothing else but
  what the loop found by itself. `loop.cold_start_keep = False` leaves them out.
- What the loop is worth is then the distance to the row "cold start", which has learned from the same n
  programs; and to the control (`selection.filter = "none"`), which has them too.
- n is told in the title of every table, for these are programs that the method of the paper does not ask for.
"""

from envisions_jax.stages.evaluation import evaluate
from envisions_jax.stages.learning import demonstration_examples, train
from envisions_jax.stages.run import Run
from envisions_jax.store.records import COLD_START
from envisions_jax.summary import cold_start_line
from envisions_jax.training import Trainer

STAGE = "cold start"


def cold_start(run: Run, trainer: Trainer) -> None:
    """Train theta_0 on the demonstrations and evaluate what comes out, once."""
    if run.store.is_done(COLD_START, STAGE):
        return
    examples = demonstration_examples(run)
    epochs = run.config.loop.cold_start_epochs
    policy = train(run, trainer, COLD_START, run.base, examples, epochs=epochs)
    record = {
        "demonstrations": len(examples.examples),
        "shortened": examples.shortened,
        "dropped": examples.dropped,
        **evaluate(run, COLD_START, policy).to_dict(),
    }
    policy.forget()
    seconds = run.clock.seconds(COLD_START)
    run.metrics.write("cold_start", record, iteration=COLD_START, time_s=seconds)
    run.reporter.line(cold_start_line(record, seconds))
    run.store.mark_done(COLD_START, STAGE)
