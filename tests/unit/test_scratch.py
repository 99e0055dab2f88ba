"""Scratch folders are removed after use and after a kill, and never while another process uses them."""

import os
import subprocess
import sys

import pytest

from tabtune_core.scratch import scratch_folder, sweep

HOLDER = """
import sys, time
from pathlib import Path
from tabtune_core.scratch import scratch_folder
with scratch_folder(Path(sys.argv[1]), "incoming-") as folder:
    (folder / "large").write_bytes(b"content")
    print(folder, flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    process.folder = process.stdout.readline().strip()
    yield process
    process.kill()
    process.wait()


def test_a_scratch_folder_is_removed_even_after_an_error(tmp_path):
    with pytest.raises(KeyError), scratch_folder(tmp_path) as folder:
        (folder / "inner").mkdir()
        raise KeyError
    assert list(tmp_path.iterdir()) == []


def test_a_folder_renamed_to_its_final_place_stays(tmp_path):
    with scratch_folder(tmp_path, "incoming-") as folder:
        (folder / "kept").touch()
        folder.rename(tmp_path / "place")
    assert [path.name for path in tmp_path.rglob("*")] == ["place", "kept"]


def test_the_folder_of_a_killed_process_is_removed_and_that_of_a_living_one_stays(tmp_path, holder):
    with scratch_folder(tmp_path, "incoming-"):
        assert os.path.exists(holder.folder)
    holder.kill()
    holder.wait()
    assert os.path.exists(holder.folder)
    with scratch_folder(tmp_path, "incoming-") as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_folders_with_similar_names_are_left_alone(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "tabtune-backup").mkdir()
    (tmp_path / "tabtune-file.tmp").touch()
    (tmp_path / "tabtune-link.tmp").symlink_to(tmp_path / "elsewhere")
    before = sorted(tmp_path.iterdir())
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == before
