"""Landlock: which files a process and all its descendants may read; everything else on the file system is
refused.

Needs no privilege beyond no_new_privs. System call numbers 444 to 446 and the structures are the same on
every architecture (kernel documentation, userspace-api/landlock).
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable

from envs.sandbox.linux import syscall

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_GET_VERSION, _RULE_PATH_BENEATH = 1, 1
_READ_FILE, _READ_DIR = 1 << 2, 1 << 3
# ABI 1 knows 13 file accesses; 2 adds REFER, 3 TRUNCATE, 5 IOCTL_DEV.
_FILE_ACCESSES = ((5, 16), (3, 15), (2, 14), (1, 13))
_BIND_AND_CONNECT_TCP = 0b11  # ABI 4
_ABSTRACT_SOCKETS_AND_SIGNALS = 0b11  # ABI 6


def landlock_version() -> int:
    """The kernel's Landlock ABI, at least 1. Raises OSError where there is none."""
    return syscall("landlock", _CREATE_RULESET, None, 0, _GET_VERSION)


def _handled(version: int) -> bytes:
    bits = next(bits for least, bits in _FILE_ACCESSES if version >= least)
    attributes = struct.pack("Q", (1 << bits) - 1)
    if version >= 4:
        attributes += struct.pack("Q", _BIND_AND_CONNECT_TCP)
    if version >= 6:
        attributes += struct.pack("Q", _ABSTRACT_SOCKETS_AND_SIGNALS)
    return attributes


def _allow_reading(ruleset: int, path: str) -> None:
    handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        is_folder = stat.S_ISDIR(os.fstat(handle).st_mode)
        rights = _READ_FILE | (_READ_DIR if is_folder else 0)
        rule = ctypes.create_string_buffer(struct.pack("=Qi", rights, handle))
        syscall(f"landlock rule for {path}", _ADD_RULE, ruleset, _RULE_PATH_BENEATH, rule, 0)
    finally:
        os.close(handle)


def restrict_reading_to(paths: Iterable[str]) -> None:
    """From now on only `paths` and what is beneath them can be opened, for reading; no TCP, no signals
    outwards.
    """
    attributes = _handled(landlock_version())
    buffer = ctypes.create_string_buffer(attributes, len(attributes))
    ruleset = syscall("landlock ruleset", _CREATE_RULESET, buffer, len(attributes), 0)
    try:
        for path in paths:
            if os.path.exists(path):
                _allow_reading(ruleset, path)
        syscall("landlock_restrict_self", _RESTRICT_SELF, ruleset, 0)
    finally:
        os.close(ruleset)
