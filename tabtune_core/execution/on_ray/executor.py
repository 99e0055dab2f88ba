"""The executor of a Ray cluster: one detached actor a run, put where there is room for what it needs.

In: runs of the queue. Out: actors, each followed by a thread of the worker; why one is gone. Ray itself never starts anything again: the
worker does, once.
"""

import contextlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from typing import Any, Literal

from tabtune_core.errors import ClusterError, ShortageError
from tabtune_core.events import Note, StopRequest
from tabtune_core.execution.cluster_file import Cluster, write_cluster
from tabtune_core.execution.executor import RAY, Ended, Placement, State
from tabtune_core.execution.forkserver import CARD_ORDER, RUN_ENVIRONMENT
from tabtune_core.execution.memory_needs import MemoryNeeds
from tabtune_core.execution.on_ray.cluster_check import first_line
from tabtune_core.execution.on_ray.machines import BYTES_OF_A_GPU_RUN, Demand, Machines, Node, asks_of, namespace_of, wants_gpu
from tabtune_core.execution.on_ray.remote_run import RemoteRun
from tabtune_core.execution.on_ray.worker_side import Link
from tabtune_core.execution.processes import GRACE_SECONDS
from tabtune_core.machine import PROCESS_BYTES
from tabtune_core.models.catalogue import get_card
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore

AT_ONCE = 4
"""Calls that an actor answers at a time: a wish is not to wait behind a piece of a file."""
JOIN_SECONDS = 5.0

_log = logging.getLogger(__name__)


class RayExecutor:
    """Actors of the cluster that this process joins. ``experiment`` is the module whose ``run_experiment`` carries out a run."""

    name = RAY

    def __init__(self, address: str, gpu_share: float, store: RunStore, context: ForkServerContext, experiment: str) -> None:
        self.gpu_share, self.store, self.context, self.experiment = gpu_share, store, context, experiment
        try:
            self.machines = Machines(address, store.home)
        except ClusterError as error:
            with contextlib.suppress(OSError):
                write_cluster(store.home, Cluster(waits=str(error)))
            raise
        self.ray = self.machines.ray
        self._needs = MemoryNeeds(context, store)
        self._said: dict[str, str] = {}
        """Why each run waits, as it was told."""
        self._waits = ""
        """The first of what waits for a node that is not there."""
        self._kill_strays()
        self._tell_pages()

    def place(self, queued: Sequence[Run], going: Sequence[Link]) -> Placement | None:
        """The first run that a node has room for."""
        nodes, self._waits = self.machines.nodes(), ""
        chosen: tuple[Run, Node] | None = None
        left = {node.id: _left(node, going) for node in nodes if not node.problem}
        for run in queued:
            asks = self._asks(run)
            large_enough = [node for node in nodes if node.id in left and asks.fits(node.has)]
            if large_enough and not any(asks.fits(left[node.id]) for node in large_enough):
                continue  # whatever memory it takes
            if (demand := self._demand(run)) is None:
                break  # it has its turn when that is known, before those behind it
            holding = [node for node in nodes if not self._why_not(run, demand, node)]
            if not holding:
                waits = self._wait_or_refuse(run, demand, nodes)
                self._waits = self._waits or waits
                continue
            free = [node for node in holding if demand.fits(left[node.id])]
            if free:
                chosen = run, max(free, key=lambda node: (left[node.id].gpus, left[node.id].cpus))
                break
        self._tell_pages()
        if chosen is None:
            if self._waits and not going:
                raise ShortageError(self._waits, "turn")
            return None
        return Placement(chosen[0], "gpu" if self._asks(chosen[0]).gpus else "cpu", chosen[1].name)

    def start(self, run: Run, placement: Placement) -> Link | None:
        """An actor, wherever a node that may hold it has room."""
        nodes, demand = self.machines.nodes(), self._demand(run)
        holding = [node for node in nodes if demand and not self._why_not(run, demand, node)]
        if demand is None or not holding:  # the last one has left meanwhile
            return None
        try:
            actor = self._actor(run, demand, [node.id for node in holding])
        except ValueError as error:  # the name is taken, by what an earlier try has made; in later versions it is a RayError, too
            _log.warning("Run %s is started once more: %s", run.id, first_line(error))
            self._kill(_actor_name(run))
            return None
        except self.ray.exceptions.RayError as error:
            _log.warning("Run %s could not be started: %s", run.id, first_line(error))
            return None
        meant = next((node.id for node in holding if node.name == placement.node), "")
        _log.info("Run %s asks for %s.", run.id, demand)
        return self._link(run, actor, demand, meant)

    def _actor(self, run: Run, demand: Demand, node_ids: Sequence[str]) -> Any:
        from ray.util.scheduling_strategies import In, NodeLabelSchedulingStrategy

        return (
            self.ray.remote(RemoteRun)
            .options(
                name=_actor_name(run),
                lifetime="detached",
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=AT_ONCE,
                num_cpus=demand.cpus,
                num_gpus=demand.gpus,
                memory=int(demand.memory_bytes),
                runtime_env={"env_vars": RUN_ENVIRONMENT | CARD_ORDER},
                scheduling_strategy=NodeLabelSchedulingStrategy(hard={"ray.io/node-id": In(*node_ids)}),
            )
            .remote(run.id)
        )

    def adopt(self, runs: Sequence[Run]) -> list[Link]:
        """By the names of their actors."""
        links = []
        for run in runs:
            nodes = self.machines.nodes()
            demand = self._demand(run) or replace(self._asks(run), memory_bytes=PROCESS_BYTES)
            node = next((node.id for node in nodes if node.name == run.node), "")
            try:
                actor = self.ray.get_actor(_actor_name(run), namespace_of(self.store.home))
            except ValueError:
                actor = None
            except self.ray.exceptions.RayError as error:  # it is asked for again
                _log.warning("Run %s cannot be found now: %s", run.id, first_line(error))
                continue
            links.append(self._link(run, actor, demand, node))
        return links

    def poll(self, task: Link) -> State:
        """As its thread has found it, which also writes down what it tells."""
        return task.state

    def ask(self, task: Link, wish: StopRequest | Literal["end"] | None) -> None:
        """To the actor, which is killed when it is late; or when its row has ended and it has not."""
        task.ask("cancel" if wish == "end" else wish, GRACE_SECONDS["cancel"])

    def end(self, task: Link) -> bool:
        """Its actor is killed."""
        task.kill()
        return task.join(JOIN_SECONDS)

    def collect(self, task: Link) -> Ended:
        """All that there is has been brought."""
        task.join(JOIN_SECONDS)
        self._needs.forget(task.id)
        return task.ended

    def let_go(self, tasks: Sequence[Link]) -> None:
        """Their actors go on."""
        for task in tasks:
            task.leaving = True
        for task in tasks:
            task.join(JOIN_SECONDS)

    def wait(self, tasks: Sequence[Link], jobs: Sequence[int], timeout_seconds: float) -> bool:
        """For the end of a job, or until the time is over: links are threads."""
        self._tell_pages()
        self._waits = ""  # until it is asked again what starts next
        gone = any(task.state == "gone" for task in tasks)
        return bool(wait(list(jobs), timeout=0 if gone else timeout_seconds)) or gone

    def _link(self, run: Run, actor: Any, demand: Demand, node_id: str) -> Link:
        return Link(self.store, run, self.ray, actor, experiment=self.experiment, demand=demand, node=node_id, name_of=self._name_of)

    def _name_of(self, node_id: str) -> str:
        return self.machines.names.get(node_id, node_id[:8])

    def _asks(self, run: Run) -> Demand:
        seen = self.machines.seen
        on_gpu = wants_gpu(run.settings, there_are_some=any(has.gpus for has in seen.values()))
        return asks_of(on_gpu=on_gpu, gpu_share=self.gpu_share, largest=_largest(seen))

    def _demand(self, run: Run) -> Demand | None:
        """With its memory; None while that is estimated."""
        asks = self._asks(run)
        if asks.gpus:
            return replace(asks, memory_bytes=BYTES_OF_A_GPU_RUN)
        need = self._needs.of(run.id)
        return None if need is None else replace(asks, memory_bytes=need)

    def _why_not(self, run: Run, demand: Demand, node: Node) -> str:
        """Why a node can never hold a run, as it is now; empty where it can."""
        if node.problem:
            return node.problem
        if not demand.fits(node.has):
            return f"Node {node.name} has {node.has}."
        return node.differs(self.machines.here, get_card(run.settings.model).family.distribution)

    def _wait_or_refuse(self, run: Run, demand: Demand, nodes: Sequence[Node]) -> str:
        """Why a run waits for a node that was there before; a run too large for every node has failed, and the answer is empty."""
        reasons = " ".join(self._why_not(run, demand, node) for node in nodes)
        needs = f"The run needs {demand}, which no node of the cluster can give it now. {reasons}".strip()
        ever = any(demand.fits(has) for has in self.machines.seen.values())
        if not ever or any(not node.problem and demand.fits(node.has) for node in nodes):  # but for a package of its family
            self.store.finish(run.id, "failed", error=f"{needs} Add such a node, or lower what the run needs, and run it again.")
            return ""
        waits = f"{needs} It waits for a node that was there before."
        if self._said.get(run.id) != waits:
            self._said[run.id] = waits
            _log.warning("Run %s: %s", run.id, waits)
            self.store.append(run.id, Note(waits, "warning"))
        return waits

    def _kill_strays(self) -> None:
        """Actors whose run has ended, or goes on in another: their worker was killed before it could let them go."""
        there = set(self.ray.util.list_named_actors())  # first: a worker that is there claims a run before it starts its actor
        for name in there - {_actor_name(run) for run in self.store.runs(status="running")}:
            self._kill(name)

    def _kill(self, name: str) -> None:
        with contextlib.suppress(ValueError, self.ray.exceptions.RayError):  # it has ended by itself
            self.ray.kill(self.ray.get_actor(name), no_restart=True)

    def _tell_pages(self) -> None:
        with contextlib.suppress(OSError):  # a full disk, of which the worker speaks elsewhere
            write_cluster(self.store.home, Cluster(tuple(node.for_pages() for node in self.machines.nodes()), self._waits))


def _actor_name(run: Run) -> str:
    """Another one for each process that a run has."""
    return f"run-{run.id}-{run.resumptions}"


def _left(node: Node, going: Sequence[Link]) -> Demand:
    left = node.has
    for link in going:
        if link.node == node.id:
            left = left.without(link.demand)
    return left


def _largest(seen: Mapping[str, Demand]) -> Demand:
    return Demand(*(max((getattr(has, name) for has in seen.values()), default=0) for name in ("cpus", "memory_bytes", "gpus")))
