"""Large freed blocks of memory go back to the system, wherever they would lie in the heap."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

GIVEN_BACK = """
import psutil, torch
from tabtune_core.training.recompute import large_blocks_apart

def given_back():  # megabytes that go back when the lower one of two blocks of 8 MB is freed
    del_me = torch.ones(30_000_000, dtype=torch.uint8)
    del del_me  # glibc's own threshold is above 8 MB from here on
    lower, upper = (torch.ones(8_000_000, dtype=torch.uint8) for _ in range(2))
    before = psutil.Process().memory_info().rss
    del lower
    back = before - psutil.Process().memory_info().rss
    assert upper[-1] == 1
    return back / 1e6

with large_blocks_apart():
    print(given_back())
print(given_back())
"""
"""Runs in a separate process: blocks would fill any gap of 8 MB that other code left in the heap, whatever the
threshold.
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="only glibc has mallopt")
def test_a_freed_block_returns_to_the_system_inside_the_context():
    done = subprocess.run(
        [sys.executable, "-c", GIVEN_BACK], stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[4]
    )
    inside, outside = map(float, done.stdout.split())
    assert inside > 7
    assert outside < 1
