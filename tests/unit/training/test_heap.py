"""Large blocks of memory go back to the system, wherever in the heap they would have been."""

import ctypes

import psutil
import pytest
import torch

from tabtune_core.training.heap import large_blocks_apart

MB = 1_000_000


def resident_bytes():
    return psutil.Process().memory_info().rss


def given_back():
    """Bytes that go back when the lower one of two blocks of 8 MB is freed."""
    del_me = torch.ones(30 * MB, dtype=torch.uint8)
    del del_me  # glibc's own threshold is above 8 MB from here on
    lower, upper = (torch.ones(8 * MB, dtype=torch.uint8) for _ in range(2))
    before = resident_bytes()
    del lower
    back = before - resident_bytes()
    assert upper[-1] == 1
    return back


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallopt"), reason="glibc alone has mallopt")
def test_a_freed_block_leaves_no_gap_while_the_context_lasts():
    with large_blocks_apart():
        assert given_back() > 7 * MB
    assert given_back() < MB


def test_a_threshold_that_a_person_has_set_stays(monkeypatch):
    monkeypatch.setenv("MALLOC_MMAP_THRESHOLD_", "33554432")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: pytest.fail("mallopt is not to be asked for"))
    with large_blocks_apart():
        pass
