"""LLaMA in Flax NNX: its configuration, computation, and the file formats its weights come in.

Nothing here knows of the method; see `envisions_jax.policy` for what the loop uses.
"""
