"""How the processes of a run find each other, where variables say who takes part: before JAX is asked.

JAX's own client waits in silence, is deaf to Ctrl-C, and aborts the process when its time is over. So the
first process listens where JAX will, until each other one has said its number, and lets them go on together:
what does not fit is told, and whoever waits says for whom.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from typing import Any

# Say who takes part where no scheduler does: host:port of the first process, how many there are, which it is.
VARIABLES = ("JAX_COORDINATOR_ADDRESS", "JAX_NUM_PROCESSES", "JAX_PROCESS_ID")
START_S = 300  # that one waits for the first at the beginning, and that one for the others
_GREETING = "envisions-jax"
_LONGEST = 1000  # bytes of a line
_GO_ON = "go on"


class HostsError(RuntimeError):
    """The processes of a run cannot go on together."""


class VariablesError(HostsError):
    """What says who takes part cannot be meant."""


def variables() -> dict[str, Any]:
    """JAX's arguments, none where no variable says how many there are. Raises VariablesError."""
    given = {name: os.environ.get(name, "") for name in VARIABLES}
    address, processes, number = given.values()
    if not (processes or number):
        return {}
    if missing := [name for name, value in given.items() if not value]:
        raise VariablesError(
            f"distributed: {', '.join(missing)} not set; give all of {', '.join(VARIABLES)}, or none of them"
        )
    host, colon, port = address.rpartition(":")
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65536) or "/" in host:
        raise VariablesError(
            f"distributed: {VARIABLES[0]}={address}: give host:port, where the first process can listen"
        )
    if not (processes.isdecimal() and int(processes) > 0):
        raise VariablesError(f"distributed: {VARIABLES[1]}={processes}: give how many there are")
    if not (number.isdecimal() and int(number) < int(processes)):
        raise VariablesError(
            f"distributed: {VARIABLES[2]}={number}: give a number from 0 to {int(processes) - 1}, each to one"
        )
    return {"coordinator_address": address, "num_processes": int(processes), "process_id": int(number)}


def join(address: str, count: int, number: int) -> None:
    """Return when all `count` processes have come, in each of them; `number` says which this one is.

    Raises HostsError: they do not come in `START_S`, do not say the same, or `address` is no place to meet.
    """
    if number:
        _come(address, count, number)
    elif count > 1:
        _await_others(address, count)


def _await_others(address: str, count: int) -> None:
    others = "1 other process" if count == 2 else f"{count - 1} other processes"
    there: dict[int, socket.socket] = {}
    with _listening(address) as server:
        _say(f"waiting at {address} for {others} of this run, {START_S} s at most")
        end = time.monotonic() + START_S
        try:
            while len(there) < count - 1:
                _let_in(server, there, count)
                if time.monotonic() > end:
                    missing = ", ".join(str(n) for n in range(1, count) if n not in there)
                    raise HostsError(
                        f"distributed: of {count} processes {len(there) + 1} came to {address} in {START_S} "
                        f"s; {VARIABLES[2]}={missing} did not"
                    )
        except HostsError as error:
            for other in there.values():
                _answer(other, str(error).removeprefix("distributed: "))
            raise
    for other in there.values():
        _answer(other, _GO_ON)
    end = time.monotonic() + 5
    for other in there.values():  # they close first: whose side that is cannot listen there for a while
        _line(other, end)
        other.close()


def _listening(address: str) -> socket.socket:
    """The server of the first process, where JAX's will be. Raises HostsError."""
    place = os.environ.get("JAX_COORDINATOR_BIND_ADDRESS") or address
    both = socket.has_dualstack_ipv6()
    family = socket.AF_INET6 if both else socket.AF_INET
    try:
        server = socket.create_server(
            ("", int(place.rpartition(":")[2])), family=family, dualstack_ipv6=both, backlog=1000
        )
    except (OSError, ValueError) as error:
        raise HostsError(
            f"distributed: {VARIABLES[0]}={address}: the first process cannot listen there ({error}); choose "
            f"another port, and give {VARIABLES[2]}=0 to one process only"
        ) from error
    server.settimeout(1)
    return server


def _let_in(server: socket.socket, there: dict[int, socket.socket], count: int) -> None:
    """Take down who comes next, if somebody does within a second, and who has left.

    What is no process of ours is sent away. Raises HostsError for one that does not fit.
    """
    try:
        other = server.accept()[0]
    except TimeoutError:
        other = None
    for number in [number for number, waiting in there.items() if _has_gone(waiting)]:
        there.pop(number).close()
    if other is None:
        return
    greeting = re.fullmatch(
        rf"{_GREETING} ([1-9]\d{{0,6}}) ([1-9]\d{{0,6}})", _line(other, time.monotonic() + 1)
    )
    number, its_count = map(int, greeting.groups()) if greeting else (0, 0)
    if not 0 < number < its_count:
        other.close()
        return
    _answer(other, _GREETING)
    if its_count != count:
        problem = f"{VARIABLES[1]} is {count} in the first process and {its_count} in process {number}"
    elif number in there:
        problem = f"{VARIABLES[2]}={number} is given to two processes"
    else:
        there[number] = other
        return
    _answer(other, problem)
    other.close()
    raise HostsError(f"distributed: {problem}; give all the same number of processes, each its own number")


def _come(address: str, count: int, number: int) -> None:
    host, _, port = address.rpartition(":")
    end = time.monotonic() + START_S
    told = False
    while True:
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=5) as first:
                _answer(first, f"{_GREETING} {number} {count}")
                if _line(first, time.monotonic() + 10) == _GREETING:
                    if count > 2:
                        _say(f"the first process of this run is at {address}; waiting for the others")
                    # By its clock, which may have been started later.
                    answer = _line(first, time.monotonic() + START_S + 10)
                    if answer == _GO_ON:
                        return
                    if answer:
                        raise HostsError(f"distributed: the first process at {address} says: {answer}")
                    problem = "the first process has ended"
                else:
                    problem = "what listens there is no process of this run"
        except (OSError, UnicodeError) as error:  # of a name that is none, or is not known yet
            problem = f"nobody answered ({error})"
        if time.monotonic() > end:
            raise HostsError(
                f"distributed: {VARIABLES[0]}={address}: {problem}, for {START_S} s; is the first process "
                "started, and can this host reach it?"
            )
        if not told:
            _say(f"waiting for the first process of this run at {address}, {START_S} s at most; {problem}")
            told = True
        time.sleep(1)


def _answer(other: socket.socket, line: str) -> None:
    try:
        other.sendall(f"{line}\n".encode())
    except OSError:  # gone: what it was to hear no longer matters to it, and who waits for it finds out
        return


def _line(other: socket.socket, end: float) -> str:
    """The next line of `other`, empty if it has gone or says none until `end`. Ctrl-C can end it."""
    received = b""
    other.settimeout(1)
    while not received.endswith(b"\n") and len(received) < _LONGEST and time.monotonic() < end:
        try:
            part = other.recv(1)
        except TimeoutError:
            continue
        except OSError:
            return ""
        if not part:
            return ""
        received += part
    return received.decode(errors="replace").strip() if received.endswith(b"\n") else ""


def _has_gone(other: socket.socket) -> bool:
    """Has it closed its side? It says nothing more while it waits."""
    other.settimeout(0)
    try:
        return not other.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    except OSError:
        return True


def _say(what: str) -> None:
    """To whoever started this process."""
    print(what, file=sys.stderr, flush=True)
