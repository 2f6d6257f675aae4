"""The stages of an iteration, each a function of what the store holds: stopped at any time, run again."""
