"""Makes the test helpers in this folder importable, and two processes of tests good neighbours on two cores."""

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
os.environ.setdefault("OMP_NUM_THREADS", "1")  # before anything imports torch
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


@pytest.fixture(autouse=True)
def chance():
    """The same for a test wherever it runs: which tests ran before it in its process depends on the processes."""
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)
