"""A training step that is recorded once as a CUDA graph and then replayed.

In: a model and its optimizer, and episodes of one shape. Out: what a plain step returns. Every tensor of the step keeps
its address; each episode is copied into the tensors of the first. The host decides nothing within a step: not whether
to step, nor at what rate. Random numbers differ from step to step, because each replay advances torch's generator.
"""

import copy
from collections.abc import Callable
from typing import Any

import torch

from tabtune_core.devices import gpu_module, is_proven, name_of, on_device
from tabtune_core.errors import DeviceError, is_out_of_memory
from tabtune_core.models.base import BaseModel
from tabtune_core.models.cards import Family
from tabtune_core.settings import TrainSettings
from tabtune_core.training.episodes import Episode
from tabtune_core.training.step import Precision, Stepped, Tensors, episode_tensors, queue_step, stepped

EARLY = 3
"""Steps that run uncaptured first, on the capturing stream:
https://docs.pytorch.org/docs/stable/notes/cuda.html#whole-network-capture.
"""
Work = Callable[[], None]


def why_not(
    train: TrainSettings, family: Family, device: torch.device, *, read_from_files: bool, sizes_differ: bool
) -> str | None:
    """Says why the steps of a run cannot be one CUDA graph; None if they can.

    ``read_from_files``: outputs of frozen stages are looked up by the content of an episode. ``sizes_differ``: episodes
    differ in shape.
    """
    reasons = {
        f"it needs an NVIDIA GPU, and the device is {name_of(device)}": not is_proven(device),
        f"{family.name}'s own code decides on the CPU within a step": not family.capturable
        or not family.upstream.is_tested,
        "activations are recomputed (train.gradient_checkpointing)": train.gradient_checkpointing,
        "the results of frozen layers are read from files": read_from_files,
        "the table has more classes than the model, so that training episodes differ in size": sizes_differ,
    }
    return next((reason for reason, holds in reasons.items() if holds), None)


class Graph:
    """Does the same work at each call: the first calls run it, one records it as a CUDA graph, and that and all later
    calls replay it.
    """

    def __init__(self, work: Work, device: torch.device) -> None:
        self._work, self._device, self._gpu, self._early = work, device, gpu_module(device), EARLY
        self._graph: Any = None
        self._stream = self._gpu.Stream(device)

    def __call__(self) -> None:
        """Does the work once."""
        with on_device(self._device):
            if self._early:
                self._early -= 1
                self._stream.wait_stream(self._gpu.current_stream())
                with self._gpu.stream(self._stream):
                    self._work()
                self._gpu.current_stream().wait_stream(self._stream)
                return
            if self._graph is None:
                self._graph = self._recorded()
            self._graph.replay()

    def _recorded(self) -> Any:
        graph = self._gpu.CUDAGraph()
        try:
            with self._gpu.graph(
                graph, stream=self._stream, capture_error_mode="thread_local"
            ):  # other threads may call CUDA meanwhile
                self._work()
        except RuntimeError as error:
            if is_out_of_memory(error):
                raise
            cause = str(error).splitlines()[0]
            raise DeviceError(
                f"The training step cannot be recorded as a CUDA graph: {cause} Turn train.cuda_graph off."
            ) from error
        return graph


class CapturedStep:
    """The steps of one training, as ``take_step`` of ``train``."""

    def __init__(
        self,
        model: BaseModel,
        optimizer: torch.optim.Optimizer,
        *,
        classes: int,
        clip_norm: float,
        precision: Precision,
        device: torch.device,
        repeat: Callable[[Work, torch.device], Work] = Graph,
    ) -> None:
        """Takes the arguments of ``plain_step``, with an optimizer made as ``captured``.

        ``repeat`` turns a function into one that does the same work at each call.
        """
        self._model, self._optimizer, self._classes, self._clip_norm = model, optimizer, classes, clip_norm
        self._precision, self._device, self._repeat = precision, device, repeat(self._work, device)
        self._inputs: Tensors | None = None
        self._loss_norm_scale = torch.zeros(3, device=device)

    def __call__(self, episode: Episode) -> Stepped:
        """Does one step on an episode of the same shape as the first."""
        tensors = episode_tensors(episode, self._classes, torch.device("cpu"))
        if self._inputs is None:
            # a copy, because on the CPU tensors share memory with the episode
            self._inputs = episode_tensors(copy.deepcopy(episode), self._classes, self._device)
        for place, tensor in zip(self._inputs, tensors, strict=True):
            if place is not None and tensor is not None:
                assert place.shape == tensor.shape, "an episode of another shape than the one that was recorded"
                place.copy_(tensor)
        self._repeat()
        return stepped(self._loss_norm_scale, self._precision)

    def _work(self) -> None:
        assert self._inputs is not None
        x_BTF, y_BC, y_BQ, weight_BQ = self._inputs
        self._optimizer.zero_grad(set_to_none=True)
        with self._precision.autocast():
            loss = self._model.loss(x_BTF, y_BC, y_BQ, self._classes, weight_BQ)
        self._loss_norm_scale.copy_(
            queue_step(loss, self._optimizer, clip_norm=self._clip_norm, precision=self._precision)
        )
