"""The plan of a fit: settings, a model and a device, or an error that says why such a run is impossible."""

from dataclasses import dataclass

import torch

from tabtune_core.devices import is_gpu, memory_bytes
from tabtune_core.models.cards import ModelCard
from tabtune_core.models.catalogue import check_request, get_card
from tabtune_core.settings import RunSettings
from tabtune_core.training.memory.prediction_context import with_shown_rows


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings with everything that follows from them."""

    settings: RunSettings
    """The settings as asked for."""
    shown: RunSettings
    """The settings with the number of context rows of a prediction filled in; they are stored in the fit's files."""
    card: ModelCard
    device: torch.device

    @classmethod
    def of(cls, settings: RunSettings, *, features: int, device: torch.device) -> "Plan":
        """Makes the plan for a table with so many ``features``; raises TabTuneError as ``check_request`` does."""
        check_request(settings)
        shown = with_shown_rows(settings, features=features, memory_bytes=memory_bytes(device), on_gpu=is_gpu(device))
        return cls(settings, shown, get_card(settings.model), device)
