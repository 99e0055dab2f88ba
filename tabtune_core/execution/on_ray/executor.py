"""The executor of a Ray cluster: one actor per run, on a node with room for what it needs.

In: runs of the queue. Out: actors, each followed by a thread of the worker; why an actor is gone. Ray ends the actors
of a worker that has ended, and restarts nothing: the worker does.
"""

import contextlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext
from typing import Any, Literal

from tabtune_core.errors import ClusterError, ShortageError
from tabtune_core.events import StopRequest
from tabtune_core.execution.cluster import Cluster, first_line, write_cluster
from tabtune_core.execution.executor import RAY, Ended, Placement
from tabtune_core.execution.local import needs_of
from tabtune_core.execution.on_ray.machines import BYTES_OF_A_GPU_RUN, Demand, Machines, Node, difference
from tabtune_core.execution.on_ray.remote_run import RemoteRun
from tabtune_core.execution.on_ray.worker_side import Link
from tabtune_core.execution.processes import CARD_ORDER, GRACE_SECONDS, RUN_ENVIRONMENT
from tabtune_core.models.catalogue import get_card
from tabtune_core.store.run_row import Run
from tabtune_core.store.runs import RunStore

AT_ONCE = 4
"""Calls that an actor answers at a time, so that a request does not wait behind a piece of a file."""

_log = logging.getLogger(__name__)


class RayExecutor:
    """Actors of the cluster that this process joins; ``experiment`` is as in ``LocalExecutor``."""

    name = RAY

    def __init__(self, address: str, store: RunStore, context: ForkServerContext, experiment: str) -> None:
        self.store, self.experiment = store, experiment
        try:
            self.machines = Machines(address)
        except ClusterError as error:
            with contextlib.suppress(OSError):
                write_cluster(store.home, Cluster(waits=str(error)))
            raise
        self.ray = self.machines.ray
        self._need_of = needs_of(store)
        self._waits = ""
        """The reason of the first run that waits for a node that is not there."""
        self._tell_pages()

    def place(self, queued: Sequence[Run], going: Sequence[Link]) -> Placement | None:
        """Chooses the first run that a node has room for, and the node with most GPUs and CPUs left."""
        nodes, self._waits = self.machines.nodes(), ""
        chosen: Placement | None = None
        left = {node.id: node.has for node in nodes if not node.problem}
        for link in going:
            if link.node in left:
                left[link.node] = left[link.node].without(link.demand)
        for run in queued:
            demand = self._demand(run)
            holding = [node for node in nodes if not self._why_not(run, demand, node)]
            if not holding:
                waits = self._wait_or_refuse(run, demand, nodes)
                self._waits = self._waits or waits
                continue
            free = [node for node in holding if demand.fits(left[node.id])]
            if free:
                most = max(free, key=lambda node: (left[node.id].gpus, left[node.id].cpus))
                chosen = Placement(run, "gpu" if demand.gpus else "cpu", most.name)
                break
        self._tell_pages()
        if chosen is None and self._waits and not going:
            raise ShortageError(self._waits, "turn")
        return chosen

    def start(self, run: Run, placement: Placement) -> Link | None:
        """Starts an actor on any suitable node that has room."""
        nodes, demand = self.machines.nodes(), self._demand(run)
        holding = [node for node in nodes if not self._why_not(run, demand, node)]
        if not holding:  # the last suitable node has left meanwhile
            return None
        try:
            actor = self._actor(run, demand, [node.id for node in holding])
        except self.ray.exceptions.RayError as error:
            _log.warning("Run %s could not be started: %s", run.id, first_line(error))
            return None
        meant = next((node.id for node in holding if node.name == placement.node), "")
        _log.info("Run %s asks for %s.", run.id, demand)
        return Link(
            self.store,
            run,
            self.ray,
            actor,
            experiment=self.experiment,
            demand=demand,
            node=meant,
            name_of=lambda node_id: self.machines.names.get(node_id, node_id[:8]),
        )

    def _actor(self, run: Run, demand: Demand, node_ids: Sequence[str]) -> Any:
        from ray.util.scheduling_strategies import In, NodeLabelSchedulingStrategy

        return (
            self.ray.remote(RemoteRun)
            .options(
                max_restarts=0,
                max_task_retries=0,
                max_concurrency=AT_ONCE,
                num_cpus=demand.cpus,
                num_gpus=demand.gpus,
                memory=int(demand.memory_bytes),
                runtime_env={"env_vars": RUN_ENVIRONMENT | CARD_ORDER},
                scheduling_strategy=NodeLabelSchedulingStrategy(hard={"ray.io/node-id": In(*node_ids)}),
            )
            .remote(run.id, run.resumptions + max(run.rung, 0))
        )

    def ask(self, task: Link, wish: StopRequest | Literal["end"] | None) -> None:
        """Passes the request to the actor, and kills an actor that should have cancelled or ended by now."""
        task.ask("cancel" if wish == "end" else wish, GRACE_SECONDS)

    def collect(self, task: Link) -> Ended:
        """Waits for the task's thread, which has brought all files, and says why the task ended."""
        task.join()
        return task.ended

    def wait(self, tasks: Sequence[Link], jobs: Sequence[int], timeout_seconds: float) -> bool:
        """Waits for the end of a job, or until time is up; tasks are threads, whose end is only checked."""
        self._tell_pages()
        self._waits = ""  # ``place`` sets it again
        gone = any(not task.goes_on for task in tasks)
        return bool(wait(list(jobs), timeout=0 if gone else timeout_seconds)) or gone

    def _demand(self, run: Run) -> Demand:
        """Returns the run's demand, including memory."""
        asks = self.machines.asks(run.settings)
        return replace(asks, memory_bytes=BYTES_OF_A_GPU_RUN if asks.gpus else self._need_of(run.id))

    def _why_not(self, run: Run, demand: Demand, node: Node) -> str:
        """Says why a node as it is now can never hold a run; empty if it can."""
        if node.problem:
            return node.problem
        if not demand.fits(node.has):
            return f"Node {node.name} has {node.has}."
        package = get_card(run.settings.model).family.distribution
        return difference(node.name, self.machines.here, node.versions, [package])

    def _wait_or_refuse(self, run: Run, demand: Demand, nodes: Sequence[Node]) -> str:
        """Says why a run waits for a node that was there before; otherwise ends the run as failed and returns ''."""
        reasons = " ".join(self._why_not(run, demand, node) for node in nodes)
        needs = f"The run needs {demand}, which no node of the cluster can give it now. {reasons}".strip()
        ever = any(demand.fits(has) for has in self.machines.seen.values())
        differs = any(not node.problem and demand.fits(node.has) for node in nodes)  # of other versions
        if differs or not ever:
            way_out = "Add such a node, or lower what the run needs, and run it again."
            self.store.finish(run.id, "failed", error=f"{needs} {way_out}")
            return ""
        return f"{needs} It waits for a node that was there before."

    def _tell_pages(self) -> None:
        nodes = tuple(node.for_pages() for node in self.machines.nodes())
        with contextlib.suppress(OSError):  # a full disk, which the worker reports elsewhere
            write_cluster(self.store.home, Cluster(nodes, self._waits))
