"""How quickly does ``loralab serve`` answer, and how much memory does it take?

``python tests/benchmarks/serve_load.py`` prints Markdown. A table of 1,000 rows, an adapter of TabICL mini with 600 of
them as context, and clients that each send one request after the other over their own connection: JSON of one row, or
of 100. The clients run on the server's machine and use some of its cores. Memory is the server's resident memory once
all adapters are open.
"""

import argparse
import http.client
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
from named_machine import machine
from published import markdown_table

sys.path.insert(0, str(Path(__file__).parents[1]))
from made_run import made_run, mixed_csv

from tabtune_core.store.runs import RunStore

TABLE_ROWS, ADAPTERS, CLIENTS, ROWS = 1_000, 16, (1, 4, 16), (1, 100)
HEADERS = {"content-type": "application/json"}
ROW = {"size": 0.5, "colour": "red", "seen": "2024-03-11", "weight": 41}


def adapters_in(folder: Path) -> list[Path]:
    """Packages of one base that differ only in their name."""
    store = RunStore(folder / "home")
    (folder / "data.csv").write_bytes(mixed_csv(TABLE_ROWS))
    made = store.run_dir(made_run(store, rank=8, data=mixed_csv(TABLE_ROWS))) / "adapter.zip"
    return [Path(shutil.copy(made, folder / f"adapter{place}.zip")) for place in range(ADAPTERS)]


class Served:
    """A server in a process of its own, as a context manager."""

    def __init__(self, adapters: list[Path], *, merged: bool) -> None:
        data = adapters[0].parent / "data.csv"
        more = ["--merge"] * merged
        self.command = [
            sys.executable,
            "-m",
            "tabtune_core",
            "serve",
            *map(str, adapters),
            "--context",
            str(data),
            "--device",
            "cpu",
            "--port",
            "0",
            *more,
        ]

    def __enter__(self) -> "Served":
        self.process = subprocess.Popen(self.command, stderr=subprocess.PIPE, text=True)
        line = next(line for line in self.process.stderr if "Serving at" in line)
        self.port = int(line.split("127.0.0.1:")[1].split()[0])
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.communicate()

    @property
    def memory_bytes(self) -> int:
        """Resident memory of the server."""
        return psutil.Process(self.process.pid).memory_info().rss

    def seconds(self, rows: int, requests: int) -> list[float]:
        """Seconds of each request of one client."""
        connection, body, taken = http.client.HTTPConnection("127.0.0.1", self.port), json.dumps([ROW] * rows), []
        for _ in range(requests):
            started = time.perf_counter()
            connection.request("POST", "/predict", body, HEADERS)
            answer = connection.getresponse()
            told = answer.read()
            if answer.status != 200:
                raise SystemExit(told)
            taken.append(time.perf_counter() - started)
        return taken


def load(adapter: Path, *, merged: bool, requests: int) -> list[list[str]]:
    """Rows of the table: p50 and p95 of a request, and rows per second, by clients and rows."""
    lines = []
    with Served([adapter], merged=merged) as server, ThreadPoolExecutor(max(CLIENTS)) as threads:
        server.seconds(1, 5)
        for rows in ROWS:
            for clients in CLIENTS:
                started = time.perf_counter()
                taken = [
                    one
                    for of in threads.map(lambda _, rows=rows: server.seconds(rows, requests), range(clients))
                    for one in of
                ]
                rate = len(taken) * rows / (time.perf_counter() - started)
                p50, p95 = statistics.median(taken), statistics.quantiles(taken, n=20)[-1]
                how = "merged" if merged else "unmerged"
                lines.append(
                    [f"{how}, {clients} × {rows} rows", f"{p50 * 1e3:,.0f}", f"{p95 * 1e3:,.0f}", f"{rate:,.0f}"]
                )
    return lines


def memory(adapters: list[Path]) -> list[list[str]]:
    """Rows of the table: megabytes by the number of open adapters."""
    lines = []
    for merged in (False, True):
        told = []
        for number in (1, len(adapters)):
            with Served(adapters[:number], merged=merged) as server:
                server.seconds(1, 1)
                told.append(f"{server.memory_bytes / 1e6:,.0f}")
        lines.append(["merged" if merged else "unmerged", *told])
    return lines


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--requests", type=int, default=40, help="requests of each client")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        adapters = adapters_in(Path(folder))
        lines = [line for merged in (False, True) for line in load(adapters[0], merged=merged, requests=asked.requests)]
        print(markdown_table(["Clients × rows of a request", "p50 (ms)", "p95 (ms)", "Rows a second"], lines))
        print(
            f"\n{markdown_table(['Memory (MB) of', '1 adapter', f'{ADAPTERS} adapters'], memory(adapters))}\n\n{machine()}."
        )


if __name__ == "__main__":
    main()
