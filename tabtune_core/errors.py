"""Errors that a person can mend. Every message says what was asked, what was found and the way out."""

import difflib
import sys
import warnings
from collections.abc import Iterable
from typing import Literal

REALLY_NEAR = 0.75
"""Share of the letters of two names that are the same in the same order."""


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name (or the one whose last part) that ``name`` probably misspells; None if no name is close.

    >>> nearest("rnak", ["rank", "alpha"]), nearest("r", ["lora.r"]), nearest("weight", ["height_cm", "eight"]), nearest("sex", ["age"])
    ('rank', 'lora.r', 'eight', None)
    """
    named = {part: whole for whole in known for part in (whole.rsplit(".", 1)[-1], whole)}
    near = difflib.get_close_matches(name, named, n=1, cutoff=REALLY_NEAR)
    return named[near[0]] if near else None


class TabTuneError(Exception):
    """Anything this package raises on purpose; the command line and the pages show its text and no trace."""


Lack = Literal[
    "room", "quota", "writable disk", "sound disk", "permission", "turn", "memory", "processes", "processor time", "files", "size", "path"
]
"""What a machine can be short of; a turn at a database that another program has locked."""
PASSING: frozenset[Lack] = frozenset({"room", "quota", "turn", "processes", "files"})
"""Kinds that return when a person or another program frees something, so that waiting helps."""


class ShortageError(TabTuneError):
    """The machine lacks something. ``shortage.shortage_of`` makes it of what the system and the packages raise."""

    def __init__(self, text: str, lack: Lack) -> None:
        super().__init__(text)
        self.lack = lack

    def __reduce__(self) -> tuple[type, tuple[str, Lack]]:
        """Both go to another process."""
        return type(self), (str(self), self.lack)

    @property
    def passes(self) -> bool:
        """Whether it is worth waiting for."""
        return self.lack in PASSING


class TableWarning(UserWarning):
    """A part of the rows does not reach the model."""


def warn(message: str) -> None:
    """A ``TableWarning`` at the line outside this package from which it was called."""
    frame, depth = sys._getframe(1), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).startswith("tabtune_core"):
        frame, depth = frame.f_back, depth + 1
    warnings.warn(message, TableWarning, stacklevel=depth)


class TableError(TabTuneError, ValueError):
    """A file that cannot be read as a table."""


class LayoutError(TableError):
    """Text that may be a table under other reading choices."""


class LabelError(TabTuneError, ValueError):
    """A column that cannot be predicted as asked."""


class SettingError(TabTuneError, ValueError):
    """A setting that is unknown, of the wrong kind or out of range."""


class TargetError(TabTuneError, ValueError):
    """LoRA targets that match nothing, or a rank that does not fit any of them."""


class CheckpointError(TabTuneError, ValueError):
    """Weights that are missing, damaged or of another model."""


class MissingPackageError(TabTuneError, ImportError):
    """A model or a tool whose own package is an extra that is not installed."""


class AdapterError(TabTuneError, ValueError):
    """An adapter that does not belong to this base, task or context."""


class PipelineError(TabTuneError, ValueError):
    """A file that is not a saved pipeline, or a pipeline that cannot be saved."""


class DeviceError(TabTuneError, ValueError):
    """A device that was asked for and is not there."""


class ClusterError(TabTuneError, ValueError):
    """A cluster that is not there, or a node of it that cannot do what is asked."""


class TrackerError(TabTuneError, ValueError):
    """Another tool did not take what was sent to it; the workspace has all of it."""


class StoreError(TabTuneError, ValueError):
    """A run, sweep or dataset that the workspace does not hold."""


FULL_MEMORY_CLASSES = ("OutOfMemoryError", "OutOfMemoryException")
"""Of torch, Ray and DuckDB, by name: loading them takes seconds. Arrow's is a MemoryError. The first is what a ``RunFailed`` has."""
OUT_OF_MEMORY = ("out of memory", "can't allocate memory", "CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED")
"""Words of errors for a full memory, of the machine or a GPU, that have no class of their own."""


def is_out_of_memory(error: BaseException | None) -> bool:
    """Whether memory was full: by the error's class or words, or those of the error that it was raised from.

    >>> is_out_of_memory(RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED in cublasCreate")), is_out_of_memory(ValueError("x"))
    (True, False)
    """
    while error is not None:
        if says_out_of_memory(error):
            return True
        error = error.__cause__ or error.__context__
    return False


def says_out_of_memory(error: BaseException) -> bool:
    """The same of the error alone."""
    named = isinstance(error, MemoryError) or type(error).__name__ in FULL_MEMORY_CLASSES
    return named or any(words in str(error) for words in OUT_OF_MEMORY)


class Cancelled(TabTuneError):
    """A person asked for the run to stop without a result."""
