"""Messages between the pool and its workers: a 4-byte big-endian length, then JSON in ASCII."""

import json
import os
import struct
from collections.abc import Iterator
from typing import Any

_LENGTH = struct.Struct(">I")


def pack(message: dict[str, Any]) -> bytes:
    body = json.dumps(message).encode("ascii")
    return _LENGTH.pack(len(body)) + body


class Unpacker:
    """Cuts a stream of bytes, fed in any pieces, into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        self._buffer += data
        while len(self._buffer) >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(self._buffer)
            if len(self._buffer) < _LENGTH.size + size:
                return
            body = bytes(self._buffer[_LENGTH.size : _LENGTH.size + size])
            del self._buffer[: _LENGTH.size + size]
            yield json.loads(body)


def _read_exactly(handle: int, size: int) -> bytes | None:
    data = b""
    while len(data) < size:
        piece = os.read(handle, size - len(data))
        if not piece:
            return None
        data += piece
    return data


def read(handle: int) -> dict[str, Any] | None:
    """The next message from a blocking file descriptor; None at its end."""
    head = _read_exactly(handle, _LENGTH.size)
    body = None if head is None else _read_exactly(handle, *_LENGTH.unpack(head))
    return None if body is None else json.loads(body)


def write(handle: int, message: dict[str, Any]) -> None:
    data = memoryview(pack(message))
    while data:
        data = data[os.write(handle, data) :]
