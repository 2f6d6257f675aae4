"""What a run would take of hardware that is not here: `python -m envisions_jax.plan --help`."""
