"""What the tests of pipelines share."""

import torch

from tabtune_core.lora.inject import adapter_tensors

FAST = {"device": "cpu", "steps": 6, "eval_every": 3, "learning_rate": 5e-3}


def of(kind, pipeline):
    return [event for event in pipeline.history if isinstance(event, kind)]


def disturb(pipeline):
    """Moves the trained tensors: after a fit without a gain, tests of saving and merging would pass trivially."""
    generator, module, report = torch.Generator().manual_seed(5), pipeline.model, pipeline.report
    for parameter in module.parameters() if report is None else adapter_tensors(module, report).values():
        parameter.data.add_(torch.randn(parameter.shape, generator=generator), alpha=0.03)
    return pipeline
