"""Kernel-enforced confinement of model-written programs on Linux.

Process tree of one worker: the parent's `envs.pool` starts a *launcher* (namespaces, watches the parent);
it forks the *zygote* (preloads packages, locks itself into the sandbox, waits for jobs); the zygote forks
one *child* per job.
"""
