"""Where runs are placed, what they request and why they wait: with fake machines, without Ray."""

from types import SimpleNamespace

import pytest
from small_table import small_table

from tabtune_core.data.datasets import add_dataset
from tabtune_core.errors import ClusterError, ShortageError
from tabtune_core.execution.cluster import read_cluster, why_not_joined
from tabtune_core.execution.on_ray import executor as ray_executor
from tabtune_core.execution.on_ray import machines
from tabtune_core.execution.on_ray.machines import EVERY_RUN, Demand, Node, difference, versions
from tabtune_core.settings import RunSettings

HERE = versions()


def machine(name, cpus=4, gigabytes=16, gpus=0, **other):
    told = HERE | other
    return Node(
        name,
        name,
        Demand(cpus, gigabytes * 1e9, gpus),
        ("NVIDIA L4",) * gpus,
        told,
        difference(name, HERE, told, EVERY_RUN),
    )


class Machines(machines.Machines):
    """The nodes of a test."""

    def __init__(self, *nodes):
        self.here = HERE
        self.ray = SimpleNamespace(exceptions=SimpleNamespace(RayError=ConnectionError))
        self.seen, self.names = {}, {}
        self.put(*nodes)

    def put(self, *nodes):
        self.there = list(nodes)
        self.seen |= {node.id: node.has for node in nodes if not node.problem}

    def nodes(self):
        return self.there


class Going:
    """A running run."""

    def __init__(self, node, demand):
        self.node, self.demand = node, demand


@pytest.fixture
def opened(store, monkeypatch):
    def make(*nodes):
        there = Machines(*nodes)
        monkeypatch.setattr(ray_executor, "Machines", lambda address: there)
        return ray_executor.RayExecutor("auto", store, None, "fake_experiment")

    return make


@pytest.fixture
def queue(store):
    def add(*devices, rows=90, **more):
        frame, labels = small_table(rows)
        table = add_dataset(store.home, frame.assign(label=labels).to_csv(index=False).encode(), "a.csv").id
        store.add_sweep([RunSettings(dataset=table, target="label", device=device, **more) for device in devices])
        return store.runs(status="queued")

    return add


def test_a_run_goes_to_the_node_with_the_most_free_gpus_and_names_it(opened, queue):
    executor, queued = opened(machine("a", gpus=1), machine("b", gpus=2)), queue("auto")
    placement = executor.place(queued, [])
    assert (placement.node, placement.slot, placement.run) == ("b", "gpu", queued[0])
    taken = [Going("b", Demand(1, 1e9, 1)), Going("b", Demand(1, 1e9, 1))]
    assert executor.place(queued, taken).node == "a"
    assert executor.place(queued, [*taken, Going("a", Demand(1, 1e9, 1))]) is None


def test_a_cpu_run_overtakes_one_that_waits_for_a_gpu(opened, queue):
    executor, queued = opened(machine("a", gpus=1)), queue("cuda", "cpu")
    assert executor.place(queued, [Going("a", Demand(1, 1e9, 1))]).run == queued[1]


def test_a_run_that_fits_on_no_node_is_refused_with_both_sizes(opened, queue, store):
    executor, queued = opened(machine("a", gigabytes=0.1), machine("b", gigabytes=0.2)), queue("cpu")
    assert executor.place(queued, []) is None
    run = store.run(queued[0].id)
    assert run.status == "failed"
    assert (
        "The run needs 4 CPUs, 0.5 GB of memory and no GPU, which no node of the cluster can give it now." in run.error
    )
    assert "Node a has 4 CPUs, 0.1 GB of memory and no GPU. Node b has 4 CPUs, 0.2 GB" in run.error


def test_a_run_waits_for_a_node_that_has_left_and_the_pages_say_so(opened, queue, store):
    executor, queued = opened(machine("a", gpus=1), machine("b")), queue("cuda")
    executor.machines.put(machine("b"))
    with pytest.raises(ShortageError, match="It waits for a node that was there before"):
        executor.place(queued, [])
    waits = read_cluster(store.home).waits
    assert waits.endswith("Node b has 4 CPUs, 16.0 GB of memory and no GPU. It waits for a node that was there before.")
    assert executor.place(queued, [Going("b", Demand(1, 1e9, 0))]) is None, "a run is going on, so the worker stays"
    executor.machines.put(machine("c", gpus=1))
    assert executor.place(queued, []).node == "c"
    assert read_cluster(store.home).waits == ""


@pytest.mark.parametrize("package", ["tabtune_core", "tabicl"])
def test_a_node_with_other_versions_gets_no_run_and_both_versions_are_named(opened, queue, store, package):
    executor, queued = opened(machine("old", **{package: "0.9"})), queue("cpu")
    assert executor.place(queued, []) is None
    sentence = f"Node old has {package} 0.9 and the worker has {HERE[package]}: install the same on both."
    assert sentence in store.run(queued[0].id).error
    other = opened(machine("old", cpus=64, torch="0.9"), machine("new", tabdpt="0.9"))
    assert other.place(queue("cpu"), []).node == "new", "the package of another model family may differ"


def test_the_reason_why_a_cluster_cannot_be_joined_reaches_the_pages(store, monkeypatch):
    def refuse(address):
        raise ClusterError("There is no Ray cluster to join.")

    monkeypatch.setattr(ray_executor, "Machines", refuse)
    with pytest.raises(ClusterError):
        ray_executor.RayExecutor("auto", store, None, "fake_experiment")
    assert why_not_joined(store.home) == "There is no Ray cluster to join."
