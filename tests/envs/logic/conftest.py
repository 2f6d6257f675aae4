"""What the tests of logic share."""

import sys
from collections.abc import Iterator

import pytest


@pytest.fixture
def deep_recursion() -> Iterator[None]:
    """Pyke derives depth first; its worker allows for that, and here the test process does."""
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(200_000)
    yield
    sys.setrecursionlimit(before)
