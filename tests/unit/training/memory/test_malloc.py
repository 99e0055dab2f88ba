"""Large blocks of memory go back to the system, wherever in the heap they would have been."""

import ctypes
import subprocess
import sys
from pathlib import Path

import pytest

from tabtune_core.training.recompute import large_blocks_apart

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
"""For a process of its own: where others have left gaps of 8 MB in the heap, blocks go there, whatever the threshold."""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc alone has mallopt")
def test_a_freed_block_leaves_no_gap_while_the_context_lasts():
    done = subprocess.run([sys.executable, "-c", GIVEN_BACK], stdout=subprocess.PIPE, text=True, check=True, cwd=Path(__file__).parents[4])
    inside, outside = map(float, done.stdout.split())
    assert inside > 7
    assert outside < 1


def test_a_threshold_that_a_person_has_set_stays(monkeypatch):
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "33554432")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("mallopt is not to be asked for"))
    with large_blocks_apart():
        pass
