"""Memory of this process on the host: its peak, giving it back, and how the C library should fetch it."""

import ctypes
import gc
import os
import resource
import sys

ALLOCATOR_VARIABLE = "GLIBC_TUNABLES"
# Large arrays from the heap, which keeps its pages, in huge pages, and one heap for all threads. By default
# glibc maps every large array anew, and the kernel fills it page by page each time.
ALLOCATOR = (
    "glibc.malloc.hugetlb=1:glibc.malloc.mmap_max=0:glibc.malloc.trim_threshold=1099511627776:"
    "glibc.malloc.arena_max=1"
)


def peak_memory_gib() -> float:
    """The most memory this process has had so far, in GiB."""
    unit = 1 if sys.platform == "darwin" else 1024  # bytes there, KiB on Linux
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**30


def return_free_memory() -> None:
    """Hand freed memory back to the system, which glibc does not do by itself.

    Compilation and training leave gigabytes of freed but resident memory behind (1.5 GiB measured after a
    training of 135M weights), which would add to the peak of the next stage. Without glibc only garbage goes.
    """
    gc.collect()
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # musl has none
        if trim is not None:
            trim(0)


def restart_with_huge_pages() -> None:
    """Start this command anew, once and in the same process, with memory from a heap of huge pages.

    A training step of 135M weights on 2 cores takes 0.83 of the time (docs/benchmarks.md says how measured).
    glibc reads these settings only at the start of a program. Nothing happens where the user has set some,
    or on another system than Linux; a C library other than glibc ignores them.
    """
    if sys.platform == "linux" and ALLOCATOR_VARIABLE not in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, sys.orig_argv, os.environ | {ALLOCATOR_VARIABLE: ALLOCATOR})
