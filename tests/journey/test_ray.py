"""Runs on a Ray cluster of two simulated machines: processes of this one, with made-up GPUs."""

import contextlib
import os
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import psutil
import pytest
import worker_program
from small_table import small_table
from worker_program import start_worker, steps_of

pytest.importorskip("ray", reason="Ray is not installed: pip install 'tabtune-dashboard[ray]'")
from ray.cluster_utils import Cluster

from tabtune_core.data.datasets import add_dataset
from tabtune_core.execution.cluster import read_cluster
from tabtune_core.scratch import sweep
from tabtune_core.settings import LoraSettings, RunSettings, TrainSettings
from tabtune_core.store.run_folder import PREDICTIONS_FILE
from tabtune_core.store.run_row import ENDED
from tabtune_core.store.runs import RunStore

pytestmark = pytest.mark.slow
TESTS = Path(__file__).parents[1]
OF_A_MACHINE = {"num_cpus": 2, "num_gpus": 2, "object_store_memory": 80_000_000}
PATIENCE_SECONDS = 600


@pytest.fixture(scope="module")
def cluster():
    """A head without CPUs and two machines with two GPUs each, with their files in a separate folder."""
    with (
        pytest.MonkeyPatch.context() as patch,
        tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as place,
    ):
        for name, value in {
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",  # Ray's default of 15 starves runs on a busy machine
            "RAY_AUTH_MODE": "disabled",  # otherwise Ray writes a token to the user's home
            "PYTHONPATH": os.pathsep.join([str(TESTS.parent), str(TESTS), str(TESTS / "fakes")]),
            "TMPDIR": place,
        }.items():
            patch.setenv(name, value)
        patch.setattr(tempfile, "tempdir", place)
        head = {**OF_A_MACHINE, "num_cpus": 0, "num_gpus": 0, "include_dashboard": False}
        made = Cluster(initialize_head=True, head_node_args=head)
        made.add_node(**OF_A_MACHINE)
        made.add_node(**OF_A_MACHINE)
        yield made
        made.shutdown()
        sweep()
        assert list(Path(place).glob("tabtune-*")) == []


@pytest.fixture(autouse=True)
def nothing_left():
    """Cleans up, so that a failed test does not disturb the others."""
    yield
    for pid in processes_of_runs():
        with contextlib.suppress(psutil.NoSuchProcess):
            psutil.Process(pid).kill()


@pytest.fixture
def store(tmp_path):
    return RunStore(tmp_path / "home")


@pytest.fixture
def table(store):
    return add_table(store)


def add_table(store):
    frame, labels = small_table(120)
    return add_dataset(store.home, frame.assign(verdict=labels).to_csv(index=False).encode(), "small.csv").id


@pytest.fixture
def worker(store, cluster):
    """Starts a worker of the cluster with fake runs; it ends with the test."""
    with contextlib.ExitStack() as stack:

        def start():
            started = start_worker(store.home, f"ray={cluster.address}")
            stack.callback(started.wait)
            stack.callback(started.kill)
            return started

        yield start


ended = partial(worker_program.wait_for_end, seconds=PATIENCE_SECONDS)
wait_until = partial(worker_program.wait_until, seconds=PATIENCE_SECONDS)


def real_worker(home, *more):
    command = [sys.executable, "-m", "tabtune_core", "worker", "--home", str(home), *more]
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(TESTS.parent)}, stderr=(home / "worker.log").open("ab")
    )


def queue_fakes(store, table, *targets):
    return store.add_sweep([RunSettings(dataset=table, target=target) for target in targets])[1]


def training(table, *, rank=2, steps=6, strategy="peft", **more):
    train = TrainSettings(steps=steps, eval_every=3, learning_rate=5e-3, **more)
    return RunSettings(
        dataset=table, target="verdict", strategy=strategy, lora=LoraSettings(rank=rank), train=train, device="cpu"
    )


def processes_of_runs():
    """The run actors of this cluster, which are processes of this machine."""
    found = []
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            found += [process.pid] if "ray::RemoteRun" in " ".join(process.cmdline()) else []
    return found


def test_a_sweep_on_the_cluster_has_the_scores_and_board_of_this_machine(tmp_path, cluster):
    stores = {name: RunStore(tmp_path / name) for name in ("local", "ray")}
    for name, flags in {
        "local": ["--executor", "local"],
        "ray": ["--executor", "ray", "--address", cluster.address],
    }.items():
        store = stores[name]
        table = add_table(store)
        store.add_sweep([training(table, strategy="inference"), training(table, rank=2), training(table, rank=4)])
        assert real_worker(store.home, "--exit-when-idle", *flags).wait(timeout=PATIENCE_SECONDS) == 0
    runs = {name: store.runs() for name, store in stores.items()}
    for one, other in zip(*runs.values(), strict=True):
        assert (one.status, other.status) == ("finished", "finished"), other.error
        for part in ("validation", "test", "zero_shot_test"):
            scores = getattr(one.result, part)
            assert getattr(other.result, part) == pytest.approx(scores, abs=1e-6)
    for store, run in ((stores["ray"], run) for run in runs["ray"][1:]):
        folder = store.run_dir(run.id)
        assert run.result.adapter_verified
        assert (folder / "adapter.zip").stat().st_size == run.result.adapter_bytes
        assert (folder / PREDICTIONS_FILE).is_file()
        assert (folder / "log.txt").is_file()
        assert not (folder / "states").exists()
        assert {run.executor, run.slot} == {"ray", "cpu"}
    assert {run.node for run in runs["ray"]} <= {node.name for node in read_cluster(stores["ray"].home).nodes}


def machine_called(cluster, name):
    return next(node for node in cluster.list_all_nodes() if f"({node.node_id[:4]})" in name)


def test_runs_of_a_lost_machine_continue_elsewhere_from_their_last_state(store, table, cluster):
    steps, workers = 40, []

    def keep_worker():
        """Restarts the worker as the pages do: Ray may attach it to the lost machine, and it ends with it."""
        while not workers or workers[-1].poll() is not None:
            workers.append(real_worker(store.home, "--executor", "ray", "--address", cluster.address))

    ids = store.add_sweep([training(table, rank=rank, steps=steps, patience=0) for rank in (2, 3)])[1]
    keep_worker()
    try:
        wait_until(lambda: store.has_last_state(ids[0]))
        name = store.run(ids[0]).node
        before = len(steps_of(store, ids[0]))
        cluster.remove_node(machine_called(cluster, name))
        assert before < steps
        for run_id in ids:
            wait_until(lambda run_id=run_id: keep_worker() or store.run(run_id).status in ENDED)
            assert store.run(run_id).status == "finished", store.run(run_id).error
            assert store.run(run_id).node != name
            assert steps_of(store, run_id) == list(range(1, steps + 1))
        run = store.run(ids[0])
        assert run.resumptions == 1
        assert run.result.resumed_steps[0] >= 3
        assert f"Node {name} has left the cluster." in store.events(run.id, ["Note"])[0].event.text
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()
        cluster.add_node(**OF_A_MACHINE)


def test_a_run_ends_with_its_killed_worker_and_the_next_one_resumes_it(store, table, cluster):
    steps = 40
    (run_id,) = store.add_sweep([training(table, steps=steps, patience=0)])[1]
    flags = ("--executor", "ray", "--address", cluster.address)
    worker = real_worker(store.home, *flags)
    try:
        wait_until(lambda: store.has_last_state(run_id))
        worker.kill()
        worker.wait()
        wait_until(lambda: processes_of_runs() == [])
        assert len(steps_of(store, run_id)) < steps
        worker = real_worker(store.home, *flags)
        run = ended(store, run_id)
        assert (run.status, run.resumptions) == ("finished", 1)
        assert run.result.resumed_steps[0] >= 3
        assert steps_of(store, run_id) == list(range(1, steps + 1))
    finally:
        worker.kill()
        worker.wait()


def test_stop_keeps_the_result_cancel_does_not_and_no_process_is_left(store, table, worker):
    stopped, cancelled = queue_fakes(store, table, "obedient", "deaf")
    worker()
    wait_until(lambda: all(store.events(run_id, ["StepDone"]) for run_id in (stopped, cancelled)))
    assert len(processes_of_runs()) == 2
    store.ask(stopped, "stop")
    store.ask(cancelled, "cancel")
    assert (ended(store, stopped).status, ended(store, cancelled).status) == ("stopped", "cancelled")
    wait_until(lambda: processes_of_runs() == [])
    assert (store.run_dir(stopped) / "adapter.zip").read_bytes() == b"weights"
    assert [path.name for path in store.run_dir(cancelled).iterdir()] == ["log.txt"]
