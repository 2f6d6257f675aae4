"""Where the tests of the store keep one."""

from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Of a store that is not there yet, nor is its folder."""
    return tmp_path / "run" / "trajectories.sqlite"
