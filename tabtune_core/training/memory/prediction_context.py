"""Chooses the default number of context rows of predictions: as many as model, memory and an acceptable time allow.

In: settings, features and memory. Out: settings with a number, stored with the run. Loads no torch.
"""

from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import RunSettings
from tabtune_core.training.memory.estimate import prediction_bytes

SHARE = 0.5
"""Share of the device's total memory for a prediction at its peak; the free memory changes from day to day."""
OPERATIONS = {"cpu": 2.8e11, "cuda": 2.8e14}
"""Most operations of the context rows' attention to each other, the square of their number: five to ten seconds.

On the CPU, TabICL mini and TabDPT mini get 8,192 rows (1,000 predictions took 5 s), Mitra mini 4,096 (9 s).
"""
ALWAYS = 2048
"""Context rows that are used however long it takes, if memory and model allow."""
LEAST, MOST = 128, 2**20


def with_shown_rows(settings: RunSettings, *, features: int, memory_bytes: int, on_gpu: bool) -> RunSettings:
    """Returns the settings with ``predict_context_rows``: as asked for, or a power of two that the model allows.

    ``memory_bytes`` is the total memory of the device.

    Raises:
        SettingError: the model does not exist or does not do the task.
    """
    if settings.train.predict_context_rows is not None:
        return settings
    card = get_card(settings.model)
    config = card.weights_for(settings.task).config
    each = card.family.code("activations").attention(config, features=features)  # of a pair of rows
    rows = MOST
    while rows > ALWAYS and each * rows**2 > OPERATIONS["cuda" if on_gpu else "cpu"]:
        rows //= 2
    while (
        rows > LEAST
        and prediction_bytes(card, settings.task, shown=rows, features=features, on_gpu=on_gpu) > SHARE * memory_bytes
    ):
        rows //= 2
    return settings.changed(predict_context_rows=min(rows, card.family.context_limit or rows))
