"""Memory of this process on the host: its peak, giving it back, and how the C library should fetch it."""

import ctypes
import gc
import os
import resource
import sys

ALLOCATOR_VARIABLE = "GLIBC_TUNABLES"
# Every large array is mapped anew; in huge pages that takes 1/512 of the page faults. Keeping all arrays in
# the heap (mmap_max=0) saves half as much again, but fragments it: a quickstart took 12.2 to 14.5 GiB instead
# of 5.8.
ALLOCATOR = "glibc.malloc.hugetlb=1"


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


def spare_garbage_collector() -> None:
    """Have Python's collector pass over all that is there now; for libraries, which stay to the end.

    Every few seconds of a run it went through some 600,000 objects, 0.3 s each time, most of them theirs.
    What is frozen and in a cycle is never freed: call it before weights are loaded.
    """
    gc.collect()
    gc.freeze()


def restart_with_huge_pages() -> None:
    """Start this command anew, once and in the same process, with large arrays in huge pages.

    A training step of 135M weights on 2 cores took about 0.8 of the time with them: 13 instead of 17 s for
    4 x 512 tokens in one microbatch. glibc reads these settings only at the start of a program. Nothing
    happens where the user has set some, or on another system than Linux; a C library other than glibc ignores
    them.
    """
    if sys.platform == "linux" and ALLOCATOR_VARIABLE not in os.environ:
        sys.stdout.flush()
        sys.stderr.flush()
        os.execve(sys.executable, sys.orig_argv, os.environ | {ALLOCATOR_VARIABLE: ALLOCATOR})
