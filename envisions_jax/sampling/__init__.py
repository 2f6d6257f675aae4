"""Explore and refine: sampling K candidates a prompt, scoring them, and beam search.

A prompt's keys and values are computed once for its K candidates, and those of the tokens that all
prompts of a stage share once for the stage. Every program has a fixed shape, taken from short
ladders (`envisions_jax.sampling.shapes`), so that few programs are compiled.
"""
