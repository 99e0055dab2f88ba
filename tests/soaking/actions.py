"""Actions of people and accidents that need no browser, by name, with their weights.

Each takes the round and its own random generator, and does nothing if it has no target. A StoreError is a valid answer:
the run or job changed in the meantime.
"""

import contextlib
import dataclasses
import random
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import psutil

from soaking.lab import wait_until
from soaking.tables import TARGETS, broken_adapter, broken_table, good_table
from tabtune_core.data.datasets import add_dataset, delete_dataset, list_datasets, load_frame
from tabtune_core.data.prediction_rows import keep_rows
from tabtune_core.errors import AdapterError, StoreError, TableError
from tabtune_core.settings import LoraSettings, RunSettings, SweepSettings, TrainSettings
from tabtune_core.store.jobs import JOB_ENDED
from tabtune_core.store.run_folder import ADAPTER_FILE
from tabtune_core.store.run_row import ENDED, RETRYABLE, Run
from tabtune_core.store.uploaded_adapters import add_adapter, delete_adapter, list_adapters

if TYPE_CHECKING:
    from soaking.rounds import Round

Action = Callable[["Round", random.Random], None]
ACTIONS: dict[str, tuple[int, Action]] = {}
"""Weight and function by name; ``browsing`` adds those of the pages."""
COMMAND_TABLE = "command.csv"
"""The table that a command adds once it has loaded."""
SERVER_KILLS = ("end_server", "kill_worker", "kill_forkserver", "kill_all", "freeze")
"""Left out of calm rounds, whose memory is compared: a restarted process says nothing about growth."""


def action(weight: int) -> Callable[[Action], Action]:
    def keep(function: Action) -> Action:
        ACTIONS[function.__name__] = (weight, function)
        return function

    return keep


def ended(round_: "Round", *, adapter: bool = False) -> list[Run]:
    """Runs that ended, all or those with an adapter."""
    found = [run for run in round_.lab.store.runs() if run.status in ENDED]
    return [run for run in found if run.result and run.result.adapter_verified] if adapter else found


def small_sweep(dataset: str, chance: random.Random) -> SweepSettings:
    """A sweep of a few seconds; one of six is long enough to be stopped or killed meanwhile."""
    target, task = chance.choice(list(TARGETS.items()))
    steps = chance.choice([2, 4, 6, 8, 12, 150])
    train = TrainSettings(steps=steps, eval_every=chance.choice([2, 5]), batch_size=32, context_rows=64, patience=100)
    run = RunSettings(dataset=dataset, target=target, task=task, device="cpu", seed=chance.randrange(3), train=train)
    ranks = tuple(chance.sample([1, 2, 4, 8], chance.randrange(3)))
    if ranks:
        run = dataclasses.replace(run, lora=LoraSettings(use_dora=chance.random() < 0.2))
    return SweepSettings(
        run=run,
        ranks=ranks,
        zero_shot=not ranks or chance.random() < 0.5,
        full_fine_tuning=chance.random() < 0.25,
        references=chance.random() < 0.25,
        seeds=(run.seed,),
    )


@action(10)
def launch_sweep(round_: "Round", chance: random.Random) -> None:
    tables = list_datasets(round_.lab.home)
    table = chance.choice(tables) if tables else add_dataset(round_.lab.home, good_table(chance), "first.csv")
    round_.lab.store.add_sweep(small_sweep(table.id, chance).expand(), f"round {round_.number}")


@action(2)
def launch_by_command(round_: "Round", chance: random.Random) -> None:
    file = round_.lab.home.parent / COMMAND_TABLE
    file.write_bytes(good_table(chance))
    steps, rank = chance.choice(["3", "6"]), chance.choice(["2", "4"])
    settings = (
        "--steps",
        steps,
        "--rank",
        rank,
        "--batch-size",
        "32",
        "--context-rows",
        "64",
        "--device",
        "cpu",
        "--split-by",
        "random",
    )
    round_.lab.command("train", str(file), "--target", "label", *settings)


@action(3)
def wait_for_a_step(round_: "Round", chance: random.Random) -> None:
    """Waits, so that the next action meets a run that trains."""
    store = round_.lab.store

    def trains_or_nothing_does() -> bool:
        going = [run for run in store.runs() if run.status not in ENDED]
        return (
            not going
            or round_.lab.worker is None
            or any(store.last(run.id, "StepDone") for run in going if run.status == "running")
        )

    wait_until(trains_or_nothing_does)


@action(6)
def ask(round_: "Round", chance: random.Random) -> None:
    going = [run for run in round_.lab.store.runs() if run.status not in ENDED]
    for run in chance.sample(going, min(len(going), chance.randrange(1, 4))):
        with contextlib.suppress(StoreError):
            wish = chance.choice(["stop", "cancel"])
            round_.asked.add(run.id)
            round_.lab.store.ask(run.id, wish)


@action(3)
def move_to_front(round_: "Round", chance: random.Random) -> None:
    if queued := round_.lab.store.runs(status="queued"):
        with contextlib.suppress(StoreError):
            round_.lab.store.move_to_front(chance.choice(queued).id)


@action(3)
def retry(round_: "Round", chance: random.Random) -> None:
    tables = {table.id for table in list_datasets(round_.lab.home)}
    found = [
        run
        for run in ended(round_)
        if run.status in RETRYABLE and run.retried_as is None and run.settings.dataset in tables
    ]
    if found:
        with contextlib.suppress(StoreError):
            round_.lab.store.retry(chance.choice(found).id)


@action(3)
def name_and_archive(round_: "Round", chance: random.Random) -> None:
    if found := ended(round_):
        run = chance.choice(found)
        round_.lab.store.rename(run.id, f"run *{chance.randrange(1000)}* <b>")
        round_.lab.store.annotate(run.id, "a note $x$ " * chance.randrange(4))
        round_.lab.store.archive(run.id, not run.archived)


@action(4)
def delete_runs(round_: "Round", chance: random.Random) -> None:
    """Deletes some runs, or nearly all of a large workspace, so that its size stays bounded."""
    found = ended(round_)
    number = len(found) - 30 if len(found) > 90 else chance.randrange(1, 4)
    for run in chance.sample(found, min(len(found), number)):
        with contextlib.suppress(StoreError):
            round_.lab.store.delete(run.id)
            round_.deleted.add(run.id)


@action(5)
def ask_for_a_job(round_: "Round", chance: random.Random) -> None:
    found, store = ended(round_, adapter=True), round_.lab.store
    tables = {table.id for table in list_datasets(store.home)}
    if not (found := [run for run in found if run.settings.dataset in tables]):
        return
    run = chance.choice(found)
    kind = chance.choice(["predict", "export", "rank_curve", "context_curve"])
    if kind == "predict":
        rows = keep_rows(store.home, load_frame(store.home, run.settings.dataset).head(5))
        adapters = [{"id": run.id, "title": "one"}]
        store.add_job(kind, {"rows": rows, "adapters": adapters, "table": run.settings.dataset, "device": "cpu"})
    elif kind == "export":
        store.add_job(kind, {"run": run.id, "format": chance.choice(["merged", "pipeline", "lora"])})
    else:
        store.add_job(kind, {"run": run.id} if kind == "rank_curve" else {"runs": [run.id]})


@action(2)
def delete_jobs(round_: "Round", chance: random.Random) -> None:
    done = [job for job in round_.lab.store.jobs() if job.status in JOB_ENDED]
    for job in chance.sample(done, len(done) // 2):
        with contextlib.suppress(StoreError):
            round_.lab.store.delete_job(job.id)


@action(3)
def add_tables(round_: "Round", chance: random.Random) -> None:
    add_dataset(round_.lab.home, good_table(chance), "good.csv")
    name, content = broken_table(chance)
    try:
        kept = add_dataset(round_.lab.home, content, name)
    except TableError:
        return
    round_.fail("broken table", f"{name} was read as a table of {kept.rows} rows")


@action(2)
def delete_a_table(round_: "Round", chance: random.Random) -> None:
    used = {run.settings.dataset for run in round_.lab.store.runs() if run.status not in ENDED}
    used |= {job.arguments.get("table", "") for job in round_.lab.store.jobs() if job.status not in JOB_ENDED}
    about = {
        run
        for job in round_.lab.store.jobs()
        if job.status not in JOB_ENDED
        for run in (job.arguments.get("run"), *job.arguments.get("runs", ()))
    }
    used |= {run.settings.dataset for run in round_.lab.store.runs() if run.id in about}
    tables = [table for table in list_datasets(round_.lab.home) if table.id not in used]
    if len(tables) > 2:
        delete_dataset(round_.lab.home, chance.choice(tables).id)


@action(2)
def add_adapters(round_: "Round", chance: random.Random) -> None:
    found, home = ended(round_, adapter=True), round_.lab.home
    whole = (round_.lab.store.run_dir(chance.choice(found).id) / ADAPTER_FILE).read_bytes() if found else b""
    if whole:
        add_adapter(home, whole, "theirs.zip")
    with contextlib.suppress(AdapterError):
        add_adapter(home, broken_adapter(chance, whole), "broken.zip")
    if len(kept := list_adapters(home)) > 3:
        delete_adapter(home, chance.choice(kept).id)


def end(round_: "Round", process: psutil.Process | None, number: signal.Signals) -> None:
    """Sends a signal if the process still exists."""
    round_.lab.disturbed = True
    with contextlib.suppress(psutil.NoSuchProcess):
        if process is not None:
            process.send_signal(number)


@action(4)
def kill_child(round_: "Round", chance: random.Random) -> None:
    if found := round_.lab.at_work():
        end(round_, chance.choice(found), chance.choice([signal.SIGKILL, signal.SIGTERM]))


@action(3)
def kill_worker(round_: "Round", chance: random.Random) -> None:
    time.sleep(chance.uniform(0, 3))
    end(round_, round_.lab.worker, chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))


@action(2)
def kill_forkserver(round_: "Round", chance: random.Random) -> None:
    end(round_, round_.lab.forkserver(), signal.SIGKILL)


@action(3)
def end_server(round_: "Round", chance: random.Random) -> None:
    round_.lab.end_server(chance.choice([signal.SIGKILL, signal.SIGTERM, signal.SIGINT]))
    round_.lab.start()


@action(2)
def freeze(round_: "Round", chance: random.Random) -> None:
    """Suspends processes for seconds, as a machine that sleeps or swaps does."""
    lab = round_.lab
    chosen = [
        process
        for process in chance.choice(
            [[lab.server], [lab.worker], lab.at_work(), [lab.server, lab.worker, *lab.at_work()]]
        )
        if process
    ]
    for process in chosen:
        end(round_, process, signal.SIGSTOP)
    time.sleep(chance.choice([1, 4]))
    for process in reversed(chosen):
        end(round_, process, signal.SIGCONT)


@action(1)
def kill_all(round_: "Round", chance: random.Random) -> None:
    """Kills everything, as a power failure does."""
    lab = round_.lab
    lab.disturbed = True
    for process in (lab.server, lab.worker, lab.forkserver(), *lab.at_work()):
        end(round_, process, signal.SIGKILL)
    lab.server.wait()
    lab.start()
