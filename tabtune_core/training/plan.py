"""What a fit is to do, resolved once before it begins and handed down whole.

In: settings, the width of the table, and a device. Out: a plan, or the error that says why such a run cannot be.
"""

from dataclasses import dataclass

import torch

from tabtune_core.devices import is_gpu, memory_bytes
from tabtune_core.models.cards import ModelCard
from tabtune_core.models.catalogue import check_request, get_card
from tabtune_core.settings import RunSettings
from tabtune_core.training.memory.prediction_context import with_shown_rows


@dataclass(frozen=True, slots=True)
class Plan:
    """Settings with all that is found out for them."""

    settings: RunSettings
    """As asked for."""
    shown: RunSettings
    """The same with the number of context rows of a prediction, which is stored with whatever is made."""
    card: ModelCard
    device: torch.device

    @classmethod
    def of(cls, settings: RunSettings, *, features: int, device: torch.device) -> "Plan":
        """The plan for a table from which a model reads so many ``features``.

        Raises:
            TabTuneError: as ``check_request`` says.
        """
        check_request(settings)
        shown = with_shown_rows(settings, features=features, memory_bytes=memory_bytes(device), on_gpu=is_gpu(device))
        return cls(settings, shown, get_card(settings.model), device)
