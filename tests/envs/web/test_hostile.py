"""Hostile programs of the web: typed outcomes, nothing run, read or reached outside the page."""

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from envs import Outcome
from envs.web.environment import WebEnvironment
from tests.envs.web.hostile import BORNE, REFUSED

pytestmark = pytest.mark.browser
CANARY = "kq7vnz-canary"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    """A server that a program may try to reach."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        yield server


def was_reached(server: socket.socket) -> bool:
    try:
        server.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def play(
    web: WebEnvironment, programs: tuple[str, ...], folder: Path, server: socket.socket
) -> list[Outcome]:
    """The outcomes of hostile programs; nothing may have been read, made or reached meanwhile."""
    secret, marker = folder / "secret", folder / "marker"
    secret.write_text(CANARY)
    task = web.task("click-test", 1)
    names = {"secret": secret, "marker": marker, "port": server.getsockname()[1]}
    outcomes = list(web.execute((task, text.format(**names)) for text in programs))
    assert not marker.exists() and not was_reached(server)
    assert not any(CANARY in f"{outcome.output} {outcome.error} {outcome.value}" for outcome in outcomes)
    return outcomes


def test_there_are_two_hundred() -> None:
    assert len({*REFUSED, *BORNE}) >= 200


def test_what_is_not_of_the_language_is_refused(
    web: WebEnvironment, tmp_path: Path, listener: socket.socket
) -> None:
    outcomes = play(web, REFUSED, tmp_path, listener)
    strayed = [(text[:80], o) for text, o in zip(REFUSED, outcomes, strict=True) if o.kind != "invalid"]
    assert not strayed
    assert all(outcome.error and len(outcome.error) <= 500 for outcome in outcomes)


def test_a_page_bears_the_rest(web: WebEnvironment, tmp_path: Path, listener: socket.socket) -> None:
    outcomes = play(web, BORNE, tmp_path, listener)
    ended = [(text[:80], o) for text, o in zip(BORNE, outcomes, strict=True) if o.kind != "wrong"]
    # Where an XPath finds every element, attribute or text, all of them are clicked: the button too.
    assert {outcome.kind for _, outcome in ended} <= {"correct"}
    assert {text.split('"')[1][:3] for text, _ in ended} <= {"//*", "//@", "//t"}
    assert next(iter(web.execute([(web.task("click-test", 1), "agent.click_xpath('//button')")]))).correct


def test_a_reached_server_would_be_seen(listener: socket.socket) -> None:
    with socket.create_connection(listener.getsockname()):
        assert was_reached(listener)
    assert not was_reached(listener)
