"""Errors in plain words; out of memory is recognised in every form that torch, cuBLAS and the model packages raise."""

import pytest
import torch

from tabtune_core.errors import LabelError, is_out_of_memory
from tabtune_core.events import RunPlanned
from tabtune_core.execution.child import explain, kind_of_error, memory_advice
from tabtune_core.settings import RunSettings


def from_cause(error, cause):
    error.__cause__ = cause
    return error


FULL = [
    MemoryError(),
    torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB."),
    RuntimeError("Failed to execute even with minimum batch size 1. Error: CUDA out of memory."),
    getattr(torch, "AcceleratorError", RuntimeError)("CUDA error: out of memory"),
    RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`"),
    RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes."),
    RuntimeError("could not create a primitive"),
    RuntimeError("std::bad_alloc"),
    from_cause(RuntimeError("the stage failed"), MemoryError()),
]


@pytest.mark.parametrize("error", FULL, ids=lambda error: str(error)[:30])
def test_out_of_memory_errors_are_recognised(error):
    assert is_out_of_memory(error)
    assert explain(error, "Lower context_rows.", "the log") == "There was not enough memory. Lower context_rows."
    assert kind_of_error(error) == "OutOfMemoryError"


def test_memory_advice_names_the_rows_that_a_step_really_has():
    settings = RunSettings(dataset="d", target="y")
    assert memory_advice(settings, None).startswith("Lower context_rows (now 512), then batch_size (now 256), or")
    plan = RunPlanned("cpu", 1, 180, 40, 40, 180, 45, 2, ("no", "yes"), 100, 4, (), {}, train_context_rows=135)
    rows = "context_rows (now 512, but a step has only 135: go below that), then batch_size (now 256, but a step has"
    assert memory_advice(settings, plan).startswith(f"Lower {rows} only 45: go below")


def test_other_errors_keep_their_name():
    assert not is_out_of_memory(RuntimeError("boom"))
    assert not is_out_of_memory(RuntimeError("could not create a primitive descriptor for the matmul primitive"))
    assert kind_of_error(RuntimeError("boom")) == "RuntimeError"
    assert explain(LabelError("No such column."), "", "the log") == "No such column."


def test_a_full_disk_is_not_out_of_memory():
    text = explain(OSError(28, "No space left on device", "/tmp/a"), "Lower context_rows.", "the log")
    assert text.startswith("The disk of /tmp/a is full")
    assert "context_rows" not in text
