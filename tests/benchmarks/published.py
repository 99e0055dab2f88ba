"""Shared by the benchmarks: arguments, kept runs, the machine, and a block of the documentation between two comments."""

import argparse
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

PAGES = Path(__file__).parents[2] / "docs" / "pages" / "measurements"


def options(doc: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=doc.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the results into the documentation")
    return parser


def publish(name: str, text: str, *, write: bool) -> None:
    """Prints the results, and puts them into the documentation if ``write`` is true."""
    print(text)
    if write:
        write_block(name, text)


def write_block(name: str, text: str, pages: Path = PAGES) -> None:
    """Replaces the text between ``<!-- name:begin -->`` and ``<!-- name:end -->`` on the one page that has them."""
    begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
    places = [path for path in sorted(pages.glob("*.md")) for _ in range(path.read_text().count(begin))]
    if len(places) != 1:
        raise ValueError(f"One page of {pages} must have {begin} and {end} once; {len(places)} were places.")
    before, rest = places[0].read_text().split(begin)
    places[0].write_text(f"{before}{begin}\n{text.strip()}\n{end}{rest.split(end)[1]}")


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table with the first column left-aligned and the others right-aligned."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


class Kept:
    """Runs in a file of JSON lines, each made only once; the fields ``names`` identify a run."""

    def __init__(self, path: Path, *names: str) -> None:
        self.path, self.names = path, names
        lines = path.read_text().splitlines() if path.exists() else []
        self.known: dict[str, dict[str, Any]] = {self._key(run): run for run in map(json.loads, lines)}

    def _key(self, run: dict[str, Any]) -> str:
        return json.dumps([run[name] for name in self.names])

    def get(self, make: Callable[[], dict[str, Any]], **asked: Any) -> dict[str, Any]:
        """The run with these fields, measured by ``make`` if the file lacks it."""
        key = self._key(asked)
        if key not in self.known:
            self.known[key] = asked | make()
            with self.path.open("a") as file:
                file.write(json.dumps(self.known[key]) + "\n")
            shown = {name: value for name, value in self.known[key].items() if not isinstance(value, list)}
            print(shown, file=sys.stderr, flush=True)
        return self.known[key]


def processor() -> str:
    info = Path("/proc/cpuinfo")
    match = re.search(r"^model name\s*: (.+)$", info.read_text(), re.MULTILINE) if info.exists() else None
    return match[1].strip() if match else "unknown CPU"


def machine() -> str:
    """For example ``Intel Xeon, 2 cores, 1 thread, torch 2.9.1, load 0.1``."""
    cores, threads, load = os.cpu_count(), torch.get_num_threads(), os.getloadavg()[0]
    counts = f"{cores} cores, {threads} thread{'s' * (threads != 1)}"
    return f"{processor()}, {counts}, torch {torch.__version__}, load {load:.1f}"
