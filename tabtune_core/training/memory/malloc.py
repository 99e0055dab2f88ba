"""Gaps in glibc's heap, which large tensors of changing sizes leave: kept small, where memory is worth more than time.

Of mallopt(3): a block from the threshold on is mapped by itself and goes back to the system when it is freed. Left alone, glibc raises the
threshold to 32 MiB as soon as it sees large blocks freed, and later ones lie in the heap among small ones.
"""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

LARGE_BYTES = 4 << 20
"""Mapping a block costs a page fault for every 4 kB; of smaller ones that would be felt."""
USUAL_LARGE_BYTES, SPARE_BYTES = 32 << 20, 64 << 20
"""Where glibc's own threshold ends, and the free memory at the heap's end that it then keeps."""
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # malloc.h


@contextmanager
def large_blocks_apart() -> Iterator[None]:
    """While it lasts, blocks from 4 MiB on leave no gaps. Nothing happens without glibc, or where the environment has set the threshold."""
    chosen = "MALLOC_MMAP_THRESHOLD_" in os.environ or "mmap_threshold" in os.environ.get("GLIBC_TUNABLES", "")
    mallopt = None if chosen else getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        yield
        return
    mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)
    mallopt(_M_TRIM_THRESHOLD, SPARE_BYTES)
    try:
        yield
    finally:
        mallopt(_M_MMAP_THRESHOLD, USUAL_LARGE_BYTES)
