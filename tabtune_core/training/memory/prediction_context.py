"""How many context rows predictions use, unless a person says it: as many as the model, the memory and a bearable time allow.

In: settings, a model card, the width of the table and the memory of the device. Out: settings with a number, which is stored with whatever
is made, so that another machine shows the same rows. Loads no torch.
"""

import dataclasses

from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import RunSettings
from tabtune_core.training.memory.estimate import attention_operations, prediction_bytes

SHARE = 0.5
"""Of the device's whole memory, for a prediction at its peak: what is free changes from day to day, and the number must not."""
OPERATIONS = {"cpu": 2.8e11, "cuda": 2.8e14}
"""Most floating-point operations of the context's attention to itself, which grows with its square: five to ten seconds of one core at the
20 to 40 billion a second that were measured, or of a GPU a thousand times as fast. On the CPU TabICL mini and TabDPT mini are shown 8,192
rows (1,000 predictions took 4.8 and 4.3 s; beside 16,384 rows 17 and 16 s), Mitra mini 4,096 of 16 columns (9 s; 31 s beside 8,192)."""
ALWAYS = 2048
"""Context rows used however long that takes, memory and model permitting."""
LEAST, MOST = 128, 2**20


def with_shown_rows(settings: RunSettings, *, features: int, memory_bytes: int, on_gpu: bool) -> RunSettings:
    """The settings with ``predict_context_rows``: as asked for, or the most that model, memory and time allow.

    Args:
        settings: of a run.
        features: that the model reads.
        memory_bytes: all that the device has.
        on_gpu: whether that is a GPU.

    Raises:
        SettingError: the model does not exist or does not do the task.
    """
    if settings.train.predict_context_rows is not None:
        return settings
    rows = _most(settings, features=features, memory_bytes=memory_bytes, on_gpu=on_gpu)
    return dataclasses.replace(settings, train=dataclasses.replace(settings.train, predict_context_rows=rows))


def _most(settings: RunSettings, *, features: int, memory_bytes: int, on_gpu: bool) -> int:
    """A power of two, or the model's own limit."""
    card = get_card(settings.model)
    each = attention_operations(card, settings.task, features)
    rows = MOST
    while rows > ALWAYS and each * rows**2 > OPERATIONS["cuda" if on_gpu else "cpu"]:
        rows //= 2
    while rows > LEAST and prediction_bytes(card, settings.task, shown=rows, features=features, on_gpu=on_gpu) > SHARE * memory_bytes:
        rows //= 2
    return min(rows, card.family.context_limit or rows)
