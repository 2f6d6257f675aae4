"""Collected only by a process that has eight devices; see `tests/parallel/test_mesh.py`."""

import os

collect_ignore_glob = [] if os.environ.get("ENVISIONS_TEST_DEVICES") else ["test_*.py"]
