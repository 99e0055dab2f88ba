"""What people who watch the Live page cost the training that they watch, and how fresh their page is.

``python tests/benchmarks/live_sessions.py [--before TREE]`` trains a model in a workspace of its own and opens so many sessions on its
Live page: websockets that ask for the page and for its refreshes as a browser does, and draw nothing, so that what is measured is the
server. With ``--before``, a server of another source tree, which must know the same format of a workspace, takes turns with this one.

A round is a window without sessions, then one with them for each server; the training speed of a window is that of the windows without
sessions before and after it, in steps a second. Printed are medians over the rounds, with the least and the most.
"""

import argparse
import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import psutil
import seeding
import websockets
from live_page import wait_for
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tabtune_core.settings import RunSettings, SweepSettings, TrainSettings
from tabtune_core.store.runs import RunStore

MOST_COST, MOST_SECONDS = 0.15, 2.0
"""Share of the training speed, and the time between two refreshes of one session."""
FEED = "lab_plotly_fed"
"""The component that brings the curves; parts of the page that change seldom are asked for on their own, without it."""
LEAST_ELEMENTS = 30
"""Of a refresh of an earlier version, which drew the charts anew."""
HERE = Path(__file__).resolve()
ROOT = HERE.parents[2]


@dataclass
class Session:
    """One tab: asks for the page, then for each fragment as often as the server said."""

    port: int
    query: str
    asked: dict[str, float] = field(default_factory=dict)
    timers: dict[str, asyncio.Task] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    page: str = ""
    drawn: list[float] = field(default_factory=list)
    """When what was asked for had come, in monotonic seconds; of refreshes that brought something."""
    waits: list[float] = field(default_factory=list)
    """Seconds from the question to the end of its answer."""
    received: int = 0
    """Bytes."""
    elements: int = 0
    """That came since the last question."""
    fed: bool = False
    """Curves came since the last question."""

    async def watch(self) -> None:
        """Until it is cancelled."""
        address = f"ws://127.0.0.1:{self.port}/_stcore/stream"
        async with websockets.connect(address, subprotocols=["streamlit"], max_size=None, ping_interval=None) as self.wire:
            await self.ask()
            async for message in self.wire:
                self.received += len(message)
                self.hear(ForwardMsg.FromString(message))

    def hear(self, told: ForwardMsg) -> None:
        """What the server said."""
        kind = told.WhichOneof("type")
        if told.metadata.cacheable:
            self.seen.add(told.hash)
        if kind == "new_session":
            self.elements, self.fed, self.page = 0, False, told.new_session.page_script_hash
            if not told.metadata.run.fragment_ids:
                self.stop()
        elif kind == "auto_rerun":
            self.stop(told.auto_rerun.fragment_id)
            task = asyncio.create_task(self.repeat(told.auto_rerun.fragment_id, told.auto_rerun.interval))
            self.timers[told.auto_rerun.fragment_id] = task
        elif kind == "stop_auto_rerun":
            self.stop(*told.stop_auto_rerun.fragment_ids)
        elif kind in ("delta", "ref_hash"):
            self.elements += 1
            self.fed |= told.delta.new_element.bidi_component.component_name.endswith(FEED)
        elif kind == "script_finished" and (self.fed or self.elements >= LEAST_ELEMENTS):
            self.drawn.append(time.monotonic())
            self.waits += [time.monotonic() - asked for asked in self.asked.values()]
            self.asked.clear()

    async def ask(self, fragment: str = "") -> None:
        """For the page, or a part of it."""
        self.asked.setdefault(fragment, time.monotonic())
        question = BackMsg()
        about = question.rerun_script
        about.query_string, about.page_name, about.page_script_hash = self.query, "" if self.page else "live", self.page
        about.fragment_id, about.is_auto_rerun = fragment, bool(fragment)
        about.cached_message_hashes.extend(self.seen)
        about.context_info.url = f"http://127.0.0.1:{self.port}/live"
        await self.wire.send(question.SerializeToString())

    async def repeat(self, fragment: str, seconds: float) -> None:
        """As the browser's timer does."""
        while True:
            await asyncio.sleep(seconds)
            await self.ask(fragment)

    def stop(self, *fragments: str) -> None:
        """These parts, or all, are not asked for any more."""
        for fragment in fragments or tuple(self.timers):
            if fragment in self.timers:
                self.timers.pop(fragment).cancel()


def queue(home: Path, others: int, trainings: int) -> tuple[str, list[str]]:
    """A sweep with runs that have ended and trainings that go on for long; its id and those of the trainings."""
    store = RunStore(home)
    settings = seeding.sweep_settings(home, ranks=(2, 4, 8)).run
    long = RunSettings(
        dataset=settings.dataset,
        target=settings.target,
        task="classification",
        model="tabicl-mini",
        train=TrainSettings(steps=1_000_000, eval_every=20, patience=0, context_rows=200),
    )
    runs = [run for run in SweepSettings(run=settings, ranks=tuple(range(1, others + 1)), seeds=(0,)).expand() if run.strategy == "peft"]
    sweep, ids = store.add_sweep([*runs[:others], *(replace(long, seed=seed) for seed in range(trainings))], "watched")
    for run_id in ids[:-trainings]:
        run = seeding.FakeRun(store, store.run(run_id).settings, run_id)
        seeding.finish(run)
    return sweep, ids[-trainings:]


def python(tree: Path, *arguments: object) -> subprocess.Popen:
    """A program of a source tree."""
    environment = os.environ | {"PYTHONPATH": str(tree)}
    command = [sys.executable, *map(str, arguments)]
    return subprocess.Popen(
        command, env=environment, cwd=tree, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


def steps_done(store: RunStore, run_id: str) -> tuple[float, int]:
    """When, in unix seconds, and how many."""
    last = store.last(run_id, "StepDone")
    assert last is not None
    return last.time, last.event.step


async def window(store: RunStore, trainings: list[str], seconds: float) -> float:
    """Steps a second, of all together."""
    before = [steps_done(store, run_id) for run_id in trainings]
    await asyncio.sleep(seconds)
    after = [steps_done(store, run_id) for run_id in trainings]
    return sum((late - early) / (ended - began) for (began, early), (ended, late) in zip(before, after, strict=True))


@dataclass
class Figures:
    """Of one server, round by round."""

    ratios: list[float] = field(default_factory=list)
    intervals: list[float] = field(default_factory=list)
    longest: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Cores that the server used."""
    own: list[float] = field(default_factory=list)
    """Cores that the sessions took themselves; people's browsers would be on other machines."""
    kilobytes: list[float] = field(default_factory=list)
    """A second and session."""


async def measure(
    options: argparse.Namespace, store: RunStore, sweep: str, trainings: list[str], servers: dict[str, tuple[int, int]]
) -> dict[str, Figures]:
    """Round after round."""
    figures = {name: Figures() for name in servers}
    alone = await window(store, trainings, options.seconds)
    for _ in range(options.rounds):
        for name, (port, pid) in servers.items():
            sessions = [Session(port, f"sweep={sweep}") for _ in range(options.sessions)]
            tasks = [asyncio.create_task(session.watch()) for session in sessions]
            deadline = time.monotonic() + 300
            while min(len(session.drawn) for session in sessions) < 3:
                assert time.monotonic() < deadline, "the page did not open"
                await asyncio.sleep(0.5)
            process = psutil.Process(pid)
            for session in sessions:
                session.drawn.clear()
                session.waits.clear()
                session.received = 0
            cpu, own, began = sum(process.cpu_times()[:2]), time.process_time(), time.monotonic()
            speed = await window(store, trainings, options.seconds)
            passed = time.monotonic() - began
            mine = figures[name]
            mine.cpu.append((sum(process.cpu_times()[:2]) - cpu) / passed)
            mine.own.append((time.process_time() - own) / passed)
            gaps = [passed / max(len(session.drawn), 1) for session in sessions]
            mine.intervals.append(statistics.median(gaps))
            mine.longest.append(max(gaps))
            mine.waits.append(statistics.median([wait for session in sessions for wait in session.waits] or [float("inf")]))
            mine.kilobytes.append(sum(session.received for session in sessions) / 1e3 / passed / len(sessions))
            for session in sessions:
                session.stop()
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.sleep(3)
            before, alone = alone, await window(store, trainings, options.seconds)
            mine.ratios.append(speed / ((before + alone) / 2))
            print(
                f"{name}: {speed:.2f} steps/s against {before:.2f} and {alone:.2f} alone ({mine.ratios[-1]:.2f}); a refresh every"
                f" {mine.intervals[-1]:.2f} s (slowest session {mine.longest[-1]:.2f} s), answered in {mine.waits[-1]:.2f} s; server"
                f" {mine.cpu[-1]:.2f} cores, the sessions themselves {mine.own[-1]:.2f}, {mine.kilobytes[-1]:.0f} kB/s a session",
                flush=True,
            )
    return figures


def main() -> None:
    """Measures, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="of a window")
    parser.add_argument("--others", type=int, default=4, help="runs of the sweep that have ended")
    parser.add_argument("--trainings", type=int, default=1, help="that go on at once")
    parser.add_argument("--port", type=int, default=8710)
    parser.add_argument("--before", type=Path, help="another source tree, whose server takes turns")
    options = parser.parse_args()
    trees = ({"before": options.before} if options.before else {}) | {"now": ROOT}
    processes: list[subprocess.Popen] = []
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        sweep, trainings = queue(home, options.others, options.trainings)
        store = RunStore(home)
        try:
            processes.append(python(ROOT, "-m", "tabtune_core", "worker", "--home", home))
            servers = {}
            for place, (name, tree) in enumerate(trees.items()):
                port = options.port + place
                processes.append(python(tree, "-m", "dashboard", "--home", home, "--port", port, "--no-browser"))
                wait_for(port, processes[-1])
                servers[name] = (port, processes[-1].pid)
            deadline = time.monotonic() + 120
            while not all(store.last(run_id, "StepDone") for run_id in trainings):
                assert time.monotonic() < deadline, "the training did not start"
                time.sleep(0.2)
            time.sleep(5)
            figures = asyncio.run(measure(options, store, sweep, trainings, servers))
        finally:
            for run in store.runs(status="running"):
                store.ask(run.id, "cancel")
            deadline = time.monotonic() + 30
            while any(store.run(run_id).ended is None for run_id in trainings) and time.monotonic() < deadline:
                time.sleep(0.2)
            for process in processes:
                process.terminate()
                process.wait(timeout=30)
    report(options, figures)


def report(options: argparse.Namespace, figures: dict[str, Figures]) -> None:
    """Medians over the rounds, and whether the bar holds."""
    for name, mine in figures.items():
        cost, gap = 1 - statistics.median(mine.ratios), statistics.median(mine.intervals)
        print(
            f"{name}, {options.sessions} sessions: training costs {cost:.0%} (rounds {1 - max(mine.ratios):.0%} to {1 - min(mine.ratios):.0%}),"
            f" a refresh every {gap:.2f} s, answered in {statistics.median(mine.waits):.2f} s, server {statistics.median(mine.cpu):.2f} cores,"
            f" the sessions themselves {statistics.median(mine.own):.2f},"
            f" {statistics.median(mine.kilobytes):.0f} kB/s a session: {'holds' if cost <= MOST_COST and gap < MOST_SECONDS else 'DOES NOT HOLD'}"
        )


if __name__ == "__main__":
    main()
