"""The last state of a training, from which a killed run resumes with bit-identical results.

In: everything that the next step depends on, except what follows from the seed and the step number (episodes, the
adapter's initial values, the learning rate). Out: a file, and the same state read back from it.
"""

import dataclasses
import hashlib
import json
import time
from typing import Any

import torch

from tabtune_core.devices import random_states, set_random_states
from tabtune_core.events import Note, Resumed
from tabtune_core.files.damaged import Damaged
from tabtune_core.training.best_checkpoint import BestState, read_state, write_state
from tabtune_core.training.loop import TrainResult
from tabtune_core.training.session import Session

FORMAT = 1
"""Part of a state's identity: increase it when the content of the file changes."""
LIGHT_BYTES = 32_000_000
"""A state up to this size, such as an adapter's, is saved at every evaluation: 8.7 MB took 0.35 s on a busy machine."""
SAVING_SHARE = 0.03
"""Most time that saving larger states may take after the first one, as a share of the training's: 331 MB took 21 s."""


class LastState:
    """The last state of one training: saved after evaluations, restored once before the first step."""

    def __init__(
        self, session: Session, best: BestState, optimizer: torch.optim.Optimizer, result: TrainResult
    ) -> None:
        self._session, self._best, self._optimizer, self._result = session, best, optimizer, result
        self._file = session.environment.last_state
        size = 3 * sum(parameter.nbytes for parameter in best.trainable.values())  # with two moments of each weight
        self._is_light = size <= LIGHT_BYTES
        self._longest_seconds = self._spent_seconds = 0.0

    def save(self, pauses: bool) -> None:
        """Saves the present state if time allows, and always where training ``pauses``; its time does not count."""
        clock = self._session.arrays.clock
        in_time = self._spent_seconds + self._longest_seconds <= SAVING_SHARE * clock.seconds
        if self._file is None or not (pauses or self._is_light or in_time):
            return
        with clock.aside():
            facts, began = self._facts(), time.monotonic()
            try:
                write_state(self._file, self._tensors(), facts)
            except OSError as error:
                self._file = None
                lost = f"The state of step {self._result.steps_done} and later ones are not saved ({error.strerror})."
                lost += " The run goes on, but it would start anew after an interruption."
                self._session.environment.emit(Note(lost, "warning"))
                return
            self._best.rely()
            self._longest_seconds = max(self._longest_seconds, time.monotonic() - began)
            self._spent_seconds += time.monotonic() - began

    def restore(self) -> None:
        """Restores the state that an earlier process saved; a note says why one cannot be used."""
        if self._file is None or not self._file.exists():
            return
        emit = self._session.environment.emit
        try:
            tensors, facts = read_state(self._file)
            if facts.get("identity") != self._identity():
                raise Damaged("it belongs to other settings, another table, another kind of device or another version")
            self._best.take(facts["result"]["best_step"])
        except Damaged as error:
            emit(Resumed(0))
            lost = f"The saved state of the interrupted training is not used: {error}. Training starts anew."
            emit(Note(lost, "warning"))
            return
        self._put_back(tensors, facts)
        emit(Resumed(self._result.steps_done))
        if self._session.environment.paused:
            return
        resumed = f"Resumed at step {self._result.steps_done} after an interruption. The {facts['seconds']:,.1f} s of"
        emit(Note(f"{resumed} training before it count, and peak memory is the higher of both processes."))

    def _identity(self) -> str:
        """Returns a hash of what a state belongs to: kind of device, settings, base weights, steps and context rows."""
        plan, settings, context = self._session.plan, self._session.settings.to_dict(), self._session.table.context
        of_run = [settings, plan.base["sha256"], plan.steps, plan.train_rows, context.sha256]
        parts = [FORMAT, self._session.device.type, *of_run]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def _facts(self) -> dict[str, Any]:
        """Returns everything in the state that is not a tensor."""
        arrays, meter = self._session.arrays, self._session.environment.meter
        return {
            "identity": self._identity(),
            "result": dataclasses.asdict(self._result),
            "seconds": arrays.clock.seconds,
            "charged_seconds": arrays.clock.charged_seconds,
            "wall_seconds": arrays.clock.wall_seconds,
            "waits": arrays.clock.waited_seconds,
            "paid": sorted(file.name for file in arrays.paid),
            "peaks": meter.so_far(),
            "scaler": self._session.precision.scaler.state_dict(),
        }

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Returns parameters and their optimizer state by the parameter's name, and torch's random states."""
        tensors: dict[str, torch.Tensor] = {}
        for name, parameter in self._best.trainable.items():
            tensors[f"parameter {name}"] = parameter
            for key, value in self._optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer {key} {name}"] = value
        return tensors | {f"random {name}": state for name, state in random_states(self._session.device).items()}

    def _put_back(self, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        device, parameters = self._session.device, self._best.trainable
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors[f"parameter {name}"])
        for name, value in tensors.items():
            kind, _, rest = name.partition(" ")
            if kind == "optimizer":
                key, _, path = rest.partition(" ")
                self._optimizer.state[parameters[path]][key] = value.to(device)
        set_random_states({name: tensors[f"random {name}"] for name in random_states(device)}, device)
        for name, value in facts["result"].items():
            setattr(self._result, name, tuple(value) if isinstance(value, list) else value)
        if not self._session.environment.paused:
            self._result.resumed_steps = (*self._result.resumed_steps, self._result.steps_done)
        self._session.precision.scaler.load_state_dict(facts["scaler"])
        self._session.environment.meter.carry_over(*facts["peaks"])
        arrays = self._session.arrays
        arrays.paid |= {arrays.folder / name for name in facts["paid"]}
        arrays.clock.go_on(facts["seconds"], facts["charged_seconds"], facts["wall_seconds"], facts["waits"])
