"""How much do people who watch the Live page slow the training down, and how fresh is their page?

``python tests/benchmarks/live_sessions.py [--before TREE]`` trains a model in a workspace of its own and opens
``--sessions`` sessions on its Live
page: websockets that request the page and its refreshes as a browser does but draw nothing, so that only the server is
measured. With ``--before``, a server of another source tree, which must know the same workspace format, alternates with
this one.

A round is a window without sessions, then one with sessions for each server. The training speed with sessions, in steps
per second, is compared with the windows without sessions before and after it. Printed are medians over the rounds, with
the lowest and highest.
"""

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import pandas as pd
import psutil
import seeding
import websockets
from serving import ROOT, served
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg

from tabtune_core.execution.lock import ensure_worker, stop_workers
from tabtune_core.settings import RunSettings, SweepSettings, TrainSettings
from tabtune_core.store.runs import RunStore

MOST_COST, MOST_SECONDS = 0.15, 2.0
"""Limits: the lost share of the training speed, and the seconds between two refreshes of a session."""
FEED = "lab_plotly_fed"
"""The component that carries the curves; parts of the page that rarely change are refreshed separately, without it."""
LEAST_ELEMENTS = 30
"""Elements in a refresh of an earlier version, which redrew the charts."""


@dataclass
class Session:
    """One tab: requests the page, then each fragment at the server's interval."""

    port: int
    query: str
    asked: dict[str, float] = field(default_factory=dict)
    timers: dict[str, asyncio.Task] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    page: str = ""
    drawn: list[float] = field(default_factory=list)
    """Times at which a refresh with content had arrived, in monotonic seconds."""
    waits: list[float] = field(default_factory=list)
    """Seconds from a request to the end of its answer."""
    received: int = 0
    """Bytes received."""
    elements: int = 0
    """Elements received since the last request."""
    fed: bool = False
    """Whether curves came since the last request."""

    async def watch(self) -> None:
        """Watches the page until cancelled."""
        address = f"ws://127.0.0.1:{self.port}/_stcore/stream"
        async with websockets.connect(
            address, subprotocols=["streamlit"], max_size=None, ping_interval=None
        ) as self.wire:
            await self.ask()
            async for message in self.wire:
                self.received += len(message)
                self.hear(ForwardMsg.FromString(message))

    def hear(self, told: ForwardMsg) -> None:
        """Handles a message of the server."""
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
        """Requests the page, or a part of it."""
        self.asked.setdefault(fragment, time.monotonic())
        question = BackMsg()
        about = question.rerun_script
        about.query_string, about.page_name, about.page_script_hash = self.query, "" if self.page else "live", self.page
        about.fragment_id, about.is_auto_rerun = fragment, bool(fragment)
        about.cached_message_hashes.extend(self.seen)
        about.context_info.url = f"http://127.0.0.1:{self.port}/live"
        await self.wire.send(question.SerializeToString())

    async def repeat(self, fragment: str, seconds: float) -> None:
        """Requests a fragment periodically, as the browser's timer does."""
        while True:
            await asyncio.sleep(seconds)
            await self.ask(fragment)

    def stop(self, *fragments: str) -> None:
        """Stops requesting these parts, or all."""
        for fragment in fragments or tuple(self.timers):
            if fragment in self.timers:
                self.timers.pop(fragment).cancel()


def queue(home: Path, others: int, trainings: int) -> tuple[str, list[str]]:
    """Queues a sweep with ended runs and long trainings; returns its id and those of the trainings."""
    store = RunStore(home)
    settings = seeding.sweep_settings(home, ranks=(2, 4, 8)).run
    long = RunSettings(
        dataset=settings.dataset,
        target=settings.target,
        task="classification",
        model="tabicl-mini",
        train=TrainSettings(steps=1_000_000, eval_every=20, patience=0, context_rows=200),
    )
    runs = [
        run
        for run in SweepSettings(run=settings, ranks=tuple(range(1, others + 1)), seeds=(0,)).expand()
        if run.strategy == "peft"
    ]
    sweep, ids = store.add_sweep([*runs[:others], *(replace(long, seed=seed) for seed in range(trainings))], "watched")
    for run_id in ids[:-trainings]:
        run = seeding.FakeRun(store, store.run(run_id).settings, run_id)
        seeding.finish(run)
    return sweep, ids[-trainings:]


def end(store: RunStore) -> None:
    """Ends the trainings and the worker."""
    stop_workers(store.home)
    for run in store.runs(status="running"):
        store.ask(run.id, "cancel")
    while store.runs(status="running"):
        time.sleep(0.1)


def steps_done(store: RunStore, run_id: str) -> tuple[float, int]:
    """The time of a run's last step (unix seconds) and its number."""
    last = store.last(run_id, "StepDone")
    assert last is not None
    return last.time, last.event.step


async def window(store: RunStore, trainings: list[str], seconds: float) -> float:
    """Steps per second of all trainings together."""
    before = [steps_done(store, run_id) for run_id in trainings]
    await asyncio.sleep(seconds)
    after = [steps_done(store, run_id) for run_id in trainings]
    return sum((late - early) / (ended - began) for (began, early), (ended, late) in zip(before, after, strict=True))


async def measure(
    options: argparse.Namespace, store: RunStore, sweep: str, trainings: list[str], servers: dict[str, tuple[int, int]]
) -> list[dict[str, float | str]]:
    """Measures each server in every round."""
    found: list[dict[str, float | str]] = []
    alone = await window(store, trainings, options.seconds)
    for name, (port, pid) in [server for _ in range(options.rounds) for server in servers.items()]:
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
        gaps = [passed / max(len(session.drawn), 1) for session in sessions]
        one = {
            "interval": statistics.median(gaps),
            "longest": max(gaps),
            "wait": statistics.median([wait for session in sessions for wait in session.waits] or [float("inf")]),
            "cores": (sum(process.cpu_times()[:2]) - cpu) / passed,
            "own": (time.process_time() - own) / passed,  # people's browsers would be on other machines
            "kilobytes": sum(session.received for session in sessions) / 1e3 / passed / len(sessions),
        }
        for session in sessions:
            session.stop()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(3)
        before, alone = alone, await window(store, trainings, options.seconds)
        found.append({"server": name, "share": speed / ((before + alone) / 2), **one})
        shown = f"slowest session {one['longest']:.2f} s; {told(found[-1])}"
        print(f"{name}: {speed:.2f} steps/s against {before:.2f} and {alone:.2f} alone; {shown}", flush=True)
    return found


def main() -> None:
    """Measures, and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sessions", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=20, help="length of a window")
    parser.add_argument("--others", type=int, default=4, help="ended runs of the sweep")
    parser.add_argument("--trainings", type=int, default=1, help="trainings at once")
    parser.add_argument("--port", type=int, default=8710)
    parser.add_argument("--before", type=Path, help="another source tree, whose server takes turns")
    options = parser.parse_args()
    trees = ({"before": options.before} if options.before else {}) | {"now": ROOT}
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        home = Path(folder) / "home"
        sweep, trainings = queue(home, options.others, options.trainings)
        store = RunStore(home)
        ensure_worker(home)
        stack.callback(end, store)
        ports = {name: (options.port + place, tree) for place, (name, tree) in enumerate(trees.items())}
        servers = {
            name: (port, stack.enter_context(served(home, port, tree=tree))) for name, (port, tree) in ports.items()
        }
        deadline = time.monotonic() + 120
        while not all(store.last(run_id, "StepDone") for run_id in trainings):
            assert time.monotonic() < deadline, "the training did not start"
            time.sleep(0.2)
        time.sleep(5)
        figures = asyncio.run(measure(options, store, sweep, trainings, servers))
    report(options, figures)


def told(one: Mapping[str, float | str]) -> str:
    """The figures of a round, or medians of several, in words."""
    return (
        f"a refresh every {one['interval']:.2f} s, answered in {one['wait']:.2f} s, server {one['cores']:.2f} cores,"
        f" the sessions themselves {one['own']:.2f}, {one['kilobytes']:.0f} kB/s a session"
    )


def report(options: argparse.Namespace, found: list[dict[str, float | str]]) -> None:
    """Prints medians over the rounds, and whether they are within the limits."""
    for name, rounds in pd.DataFrame(found).groupby("server", sort=False):
        middle, cost = rounds.median(numeric_only=True), 1 - rounds["share"]
        holds = "holds" if cost.median() <= MOST_COST and middle["interval"] < MOST_SECONDS else "DOES NOT HOLD"
        spread = f"rounds {cost.min():.0%} to {cost.max():.0%}"
        print(
            f"{name}, {options.sessions} sessions: training costs {cost.median():.0%} ({spread}), {told(middle)}: "
            f"{holds}"
        )


if __name__ == "__main__":
    main()
