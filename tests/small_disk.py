"""A real file system of 20 MB that tests can fill, if this user may mount one."""

import subprocess
from contextlib import contextmanager

import pytest

from tabtune_core.machine import disk_of


@contextmanager
def small_disk(place):
    """Mounts the file system at ``place`` for a block; skips the test if mounting is not allowed."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=20m", "tmpfs", str(place)]
    try:
        mounted = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        pytest.skip(f"there is no program to mount a file system: {error}")
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def fill(place):
    """Fills the disk completely and returns the file to remove."""
    filler = place / "filler"
    for size in (2**20, 2**12):
        try:
            with filler.open("ab", buffering=0) as file:
                while file.write(bytes(size)):
                    pass
        except OSError:
            continue
    assert disk_of(place)[0] == 0
    return filler
