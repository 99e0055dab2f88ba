"""Errors that a person can fix. Every message says what was asked, what was found and what to do."""

import difflib
import re
import sys
import warnings
from collections.abc import Iterable
from typing import Literal

REALLY_NEAR = 0.75
"""Least ``difflib`` ratio of two names at which one is proposed for the other."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """Returns the known name that ``name`` probably misspells, as a whole or by its last part; None if none is.

    >>> nearest("rnak", ["rank", "alpha"]), nearest("r", ["lora.r"]), nearest("weight", ["height_cm", "eight"]), nearest("sex", ["age"])
    ('rank', 'lora.r', 'eight', None)
    >>> nearest("TENURE ", ["age", "tenure"])
    'tenure'
    """  # noqa: E501
    named = {part.casefold(): whole for whole in known for part in (whole.rsplit(".", 1)[-1], whole)}
    near = difflib.get_close_matches(name.casefold().strip(), named, n=1, cutoff=REALLY_NEAR)
    return named[near[0]] if near else None


class TabTuneError(Exception):
    """Base of everything that this package raises on purpose; its text is shown without a traceback."""


Lack = Literal["room", "permission", "turn", "memory"]
"""What a machine can be short of; ``turn`` is access to a database that another program has locked."""
PASSING: frozenset[Lack] = frozenset({"room", "turn"})
"""Shortages that end when a person or another program frees something, so that waiting helps."""


class ShortageError(TabTuneError):
    """The machine lacks something. ``shortage.shortage_of`` makes it from what the system and the packages raise."""

    def __init__(self, text: str, lack: Lack) -> None:
        super().__init__(text)
        self.lack = lack

    def __reduce__(self) -> tuple[type, tuple[str, Lack]]:
        """Pickles the text and the lack."""
        return type(self), (str(self), self.lack)

    @property
    def passes(self) -> bool:
        """Whether it is worth waiting for."""
        return self.lack in PASSING


class TableWarning(UserWarning):
    """Part of the rows does not reach the model."""


def warn(message: str) -> None:
    """Issues a ``TableWarning`` at the line outside this package from which it was called."""
    frame, depth = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("tabtune_core"):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, TableWarning, stacklevel=depth)


class TableError(TabTuneError, ValueError):
    """A file cannot be read as a table."""


class LayoutError(TableError):
    """Text may be a table under other reading choices."""


class LabelError(TabTuneError, ValueError):
    """A column cannot be predicted as asked."""


class SettingError(TabTuneError, ValueError):
    """A setting is unknown, of the wrong kind or out of range."""


class TargetError(TabTuneError, ValueError):
    """LoRA targets match nothing, or the rank fits none of them."""


class CheckpointError(TabTuneError, ValueError):
    """Weights are missing, damaged or of another model."""


class MissingPackageError(TabTuneError, ImportError):
    """The package of a model or a tool is an extra that is not installed."""


class AdapterError(TabTuneError, ValueError):
    """An adapter does not belong to this base, task or context."""


class PipelineError(TabTuneError, ValueError):
    """A file is not a saved pipeline, or a pipeline cannot be saved."""


class DeviceError(TabTuneError, ValueError):
    """A requested device is missing or cannot be used."""


class ClusterError(TabTuneError, ValueError):
    """A cluster is not there, or one of its nodes cannot do what is asked."""


class TrackerError(TabTuneError, ValueError):
    """An experiment tracker did not accept what was sent to it; the workspace still has all of it."""


class StoreError(TabTuneError, ValueError):
    """The workspace cannot be used, or does not hold the run, sweep, job or dataset."""


class MovedError(StoreError):
    """The workspace in the folder ``home``, which this program used, is not there any more."""

    def __init__(self, home: object) -> None:
        gone = f"The workspace {home} was moved, deleted or replaced while this program was open"
        super().__init__(f"{gone}. Start the program again.")


FULL_MEMORY_CLASSES = ("OutOfMemoryError", "OutOfMemoryException")
"""Classes of torch, Ray and DuckDB, by name because loading them takes seconds; ``RunFailed`` has the first."""
OUT_OF_MEMORY = re.compile(
    "out of memory|can't allocate memory|bad_alloc|(CUBLAS|CUDNN)_STATUS_ALLOC_FAILED|could not create a "
    "(primitive|memory)( object)?$"
)
"""Texts of out-of-memory errors, of the machine or a GPU, that have no class of their own; the last are oneDNN's."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether an error, or one that it was raised from, says that memory was full.

    >>> is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED in cublasCreate")), is_out_of_memory(ValueError("x"))
    (True, False)
    """  # noqa: E501
    while error is not None:
        if says_out_of_memory(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def says_out_of_memory(error: BaseException) -> bool:
    """Whether the error itself, by its class or text, says that memory was full."""
    named = isinstance(error, MemoryError) or type(error).__name__ in FULL_MEMORY_CLASSES
    return named or OUT_OF_MEMORY.search(str(error)) is not None


class Cancelled(TabTuneError):
    """A person asked for the run to end without a result."""


class Waiting(TabTuneError):
    """Training pauses at a rung, until the run's rivals have come as far."""
