"""``export``: writes a sweep as one page, or sends it to a tracker; ``hub push``: pushes an adapter to the Hub."""

import argparse
import os
import sys
from pathlib import Path

from tabtune_core.cli.board import runs_of_sweep
from tabtune_core.cli.terminal import say
from tabtune_core.errors import AdapterError, SettingError
from tabtune_core.files.whole import in_one_move
from tabtune_core.lora.hub import FILE, card_of, push
from tabtune_core.lora.package_reader import readme, without_labels
from tabtune_core.scratch import scratch_folder
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.runs import RunStore


def export_sweep(asked: argparse.Namespace) -> int:
    """Writes a sweep as a page or picture, or sends it to a tracker."""
    store = RunStore(asked.home)
    sweep = runs_of_sweep(store, asked.sweep)[0].sweep
    what, _, where = asked.to.partition(":")
    if what in ("html", "picture"):
        from tabtune_core.analysis.sweep_page import sweep_page, sweep_picture

        file = Path(where or f"sweep-{sweep}.{'html' if what == 'html' else 'png'}")
        if file.is_dir() or not file.parent.is_dir():  # before it is made
            raise SettingError(
                f"{str(file)!r} cannot be written: it is a folder, or its folder does not exist. Name a file: "
                f"{what}:FILE."
            )
        if what == "picture" and file.suffix not in (".png", ".svg"):
            raise SettingError(f"A picture is a .png or .svg file, not {str(file)!r}.")
        picture = what == "picture"
        content = sweep_picture(store, sweep, file.suffix[1:]) if picture else sweep_page(store, sweep).encode()
        with in_one_move(file) as partial_file:
            partial_file.write_bytes(content)
        sys.stdout.buffer.write(os.fsencode(file) + b"\n")  # the locale C has no letters for it
        return 0
    from tabtune_core.tracking import open_tracker
    from tabtune_core.tracking.mirror import send

    tracker = open_tracker(asked.to, store.home, also=["html", "picture"])
    say(send(store, sweep, tracker))
    print(tracker.look)
    return 0


def push_adapter(asked: argparse.Namespace) -> int:
    """Pushes an adapter with its model card to the Hugging Face Hub, and prints its address."""
    from tabtune_core.store.uploaded_adapters import check_package

    path = _package_of(asked.home, asked.adapter)
    with scratch_folder() as folder:
        content = path.read_bytes() if asked.with_labels else without_labels(path)
        (folder / FILE).write_bytes(content)
        facts = check_package(folder / FILE)
    if facts.classes and not asked.with_labels:
        say("The class labels, which are values of the table, are left out; --with-labels names them.")
    print(push(content, card_of(facts, readme(facts), asked.repository), asked.repository, public=asked.public))
    return 0


def _package_of(home: Path, adapter: str) -> Path:
    """Returns a package file, or that of a run by its id."""
    if os.path.exists(adapter):
        return Path(adapter)
    store = RunStore(home)
    run = store.run(adapter)
    path = store.run_dir(run.id) / ADAPTER_FILE
    if run.result is None or not run.result.adapter_verified or not path.is_file():
        raise AdapterError(
            f"The run {run.id} has no adapter that a fresh process has verified. Choose a finished run of LoRA."
        )
    return path
