"""The last state of a training, from which a run goes on when its process was killed: as if nothing had happened, to the last bit.

In: everything that the next step depends on and that the seed does not give anew. Out: a file, and from the file the same state again.
Episodes, the adapter's start and the rate of a step follow from the seed and the number of the step.
"""

import dataclasses
import hashlib
import json
import time
from typing import Any

import torch

from tabtune_core.devices import random_states, set_random_states
from tabtune_core.events import Note, Resumed
from tabtune_core.models.catalogue import names_of
from tabtune_core.training.best_checkpoint import BestState, shapes
from tabtune_core.training.loop import TrainResult
from tabtune_core.training.session import Session
from tabtune_core.training.state_file import StateFileError, read_state, write_state

FORMAT = 2
"""Part of a state's identity: increase it when the content of the file changes. States written by earlier versions are not resumed."""
LIGHT_BYTES = 32_000_000
"""A state up to this size is saved at every evaluation: those of adapters are (rank 8: 0.9 MB of TabICL mini 1, 8.7 MB of TabICL v2, in
0.04 and 0.35 s on a disk and a machine under load; ``tests/benchmarks/last_state.py``)."""
SAVING_SHARE = 0.03
"""Of a heavier state, as of full fine-tuning: saving it takes at most this share of the training's time, so that not every evaluation
is followed by it: 331 MB of TabICL v2 took 21 s there. It holds the trained weights and two numbers a weight of Adam (one of SGD)."""


class LastState:
    """Of one training: saved after evaluations, restored once before the first step."""

    def __init__(self, session: Session, best: BestState, optimizer: torch.optim.Optimizer, result: TrainResult) -> None:
        self._session, self._best, self._optimizer, self._result = session, best, optimizer, result
        self._file = session.environment.last_state
        self._bytes, self._longest_seconds, self._spent_seconds = 0, 0.0, 0.0

    def save(self) -> None:
        """Writes the state of this moment, if the run can go on from one and time allows; it does not count as the run's time."""
        clock = self._session.arrays.clock
        if self._file is None or not self._may_take_time(clock.seconds):
            return
        with clock.aside():
            facts, began = self._facts(), time.monotonic()
            try:
                self._bytes = write_state(self._file, self._tensors(), facts)
            except OSError as error:
                self._session.environment.emit(_not_saved(self._result.steps_done, error))
                self._file = None
                return
            self._best.rely()
            self._longest_seconds = max(self._longest_seconds, time.monotonic() - began)
            self._spent_seconds += time.monotonic() - began

    def restore(self) -> None:
        """Puts back the state that an earlier process of the run saved, if there is one; a notice says so, or why it cannot be used."""
        if self._file is None or not self._file.exists():
            return
        emit = self._session.environment.emit
        try:
            tensors, facts = read_state(self._file)
            self._check(tensors, facts)
            self._best.take(facts["result"]["best_step"])
        except StateFileError as error:
            emit(Resumed(0))
            emit(Note(f"The saved state of the interrupted training is not used: {error}. Training starts anew.", "warning"))
            return
        self._put_back(tensors, facts)
        emit(Resumed(self._result.steps_done))
        emit(
            Note(
                f"Resumed at step {self._result.steps_done} after an interruption. Its {facts['seconds']:,.1f} s of training count, the "
                "time in between and steps that were done twice do not; peak memory is the higher one of both processes."
            )
        )

    def _may_take_time(self, trained_seconds: float) -> bool:
        """Before the first time it is not known how long saving takes: about as long for each byte as the start of the best state did."""
        expected = self._longest_seconds or self._best.seconds_a_byte * self._expected_bytes()
        return self._expected_bytes() <= LIGHT_BYTES or self._spent_seconds + expected <= SAVING_SHARE * trained_seconds

    def _expected_bytes(self) -> int:
        """Weights, and at most two numbers for each."""
        return self._bytes or 3 * sum(p.numel() * p.element_size() for _, p in self._best.named_parameters)

    def _identity(self, model: str) -> str:
        """What a state belongs to: the settings, the model by this name, the table, the context rows, the base's weights and the steps."""
        plan, table = self._session.plan, self._session.table
        settings = {**self._session.settings.to_dict(), "model": model}
        told = [FORMAT, settings, plan.base["sha256"], plan.steps, plan.train_rows, table.context.sha256]
        return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()

    def _facts(self) -> dict[str, Any]:
        """Everything that is not a tensor."""
        arrays, meter = self._session.arrays, self._session.environment.meter
        return {
            "identity": self._identity(self._session.settings.model),
            "result": dataclasses.asdict(self._result),
            "seconds": arrays.clock.seconds,
            "charged_seconds": arrays.clock.charged_seconds,
            "wall_seconds": arrays.clock.wall_seconds,
            "waits": (arrays.clock.waited_seconds, arrays.clock.charged_waits),
            "paid": arrays.paid,
            "peaks": meter.so_far(),
            "scaler": self._session.precision.scaler.state_dict(),
        }

    def _tensors(self) -> dict[str, torch.Tensor]:
        """Parameters and what the optimizer knows of each, by the parameter's name; torch's random numbers, of dropout."""
        found: dict[str, torch.Tensor] = {}
        for name, parameter in self._best.named_parameters:
            found[f"parameter {name}"] = parameter
            for key, value in self._optimizer.state.get(parameter, {}).items():
                found[f"optimizer {key} {name}"] = value
        return found | {f"random {name}": state for name, state in random_states(self._session.device).items()}

    def _check(self, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        """Raises StateFileError for a state of other settings, another table, model or kind of device."""
        if facts.get("identity") not in [self._identity(name) for name in names_of(self._session.settings.model)]:
            raise StateFileError("it belongs to other settings, another table or another version")
        held = {name.removeprefix("parameter "): tensor for name, tensor in tensors.items() if name.startswith("parameter ")}
        needed = {f"random {name}" for name in random_states(self._session.device)}
        if shapes(held) != shapes(dict(self._best.named_parameters)) or needed - tensors.keys():
            raise StateFileError("it holds other parameters than the model, or was trained on another kind of device")

    def _put_back(self, tensors: dict[str, torch.Tensor], facts: dict[str, Any]) -> None:
        device, parameters = self._session.device, dict(self._best.named_parameters)
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(tensors[f"parameter {name}"])
        for told, value in tensors.items():
            kind, _, rest = told.partition(" ")
            if kind == "optimizer":
                key, _, name = rest.partition(" ")
                self._optimizer.state[parameters[name]][key] = value.to(device)
        set_random_states({name: tensors[f"random {name}"] for name in random_states(device)}, device)
        for name, value in facts["result"].items():
            setattr(self._result, name, tuple(value) if isinstance(value, list) else value)
        self._result.resumed_steps = (*self._result.resumed_steps, self._result.steps_done)
        self._session.precision.scaler.load_state_dict(facts["scaler"])
        self._session.environment.meter.carry_over(*facts["peaks"])
        self._session.arrays.count_as_paid(facts["paid"])
        self._session.arrays.clock.go_on(facts["seconds"], facts["charged_seconds"], facts["wall_seconds"], *facts["waits"])


def _not_saved(step: int, error: OSError) -> Note:
    return Note(
        f"The state of step {step} could not be saved ({error.strerror}); no later one is. The run goes on, but it would start anew after "
        "an interruption.",
        "warning",
    )
