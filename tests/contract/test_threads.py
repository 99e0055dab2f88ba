"""Threads share a model: each gets the answers it would get alone, and no call leaves anything behind."""

import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pytest
import torch
from module_state import Broken, FailsAt, module_state
from tiny import needs

from tabtune_core import LoraAdapter, TabularPipeline

THREADS = 8
WIDE, NARROW = 60, 4
"""Columns: more than 48, so that TabDPT mini draws a random projection."""
X = np.random.default_rng(0).normal(size=(60, WIDE))
CLASSES = np.arange(60) % 12
"""More than TabICL and TabDPT predict at once: a tree of smaller problems, and digit by digit."""
FAST = {"device": "cpu", "steps": 1, "peft_config": {"r": 2}}


@pytest.fixture(autouse=True, scope="module")
def often():
    """Makes threads switch ten times as often as by default."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(5e-4)
    yield
    sys.setswitchinterval(before)


def target(model, task):
    few = 3 if model == "mitra-mini" else 12
    return X[:, 0] if task == "regression" else CLASSES % few


def table(model):
    return X[:, : WIDE if model == "tabdpt-mini" else NARROW]


def fit(model, task):
    """Fits a pipeline with two adapters; they and the base predict clearly different things."""
    pipeline = TabularPipeline(model, "peft", FAST, task=task).fit(table(model), target(model, task))
    settings, generator = pipeline._lora["default"], torch.Generator().manual_seed(0)
    for name in ("first", "second"):
        plain = pipeline._adapters.tensors("default")
        tensors = {key: 0.1 * torch.randn(t.shape, generator=generator) for key, t in plain.items()}
        adapter = LoraAdapter(settings=settings, tensors=tensors, task=None, model=None, base_sha256=None)
        pipeline.load_adapter(adapter, name)
    return pipeline


SLOW = [pytest.param(name, marks=pytest.mark.slow) for name in ("tabdpt-mini", "mitra-mini")]


@pytest.fixture(scope="module", params=["tabicl-mini", *SLOW])
def model(request):
    needs(request.param)
    return request.param


@pytest.fixture(scope="module", params=["classification", "regression"])
def pipeline(request, model):
    return fit(model, request.param)


def answer(pipeline, rows, module=None):
    return pipeline._predict(table(pipeline.model_name)[:rows], module)


def answer_of(pipeline, name, rows):
    return answer(pipeline, rows, pipeline._adapters.module_of(name))


def answer_in_lots(pipeline, rows):
    context, model = pipeline._context, pipeline._base
    read = model.fit_preprocessing(context.x_CF)
    ask = model.read_context(read(context.x_CF), context.y_C, len(context.labels.classes))
    return np.concatenate([ask(read(context.x_CF[:rows])), ask(read(context.x_CF[rows : 2 * rows]))])


def answer_of_the_saved(pipeline, folder, rows):
    file = folder / f"{np.random.default_rng().integers(2**60)}.zip"
    pipeline.save(file)
    return answer(type(pipeline).load(file), rows)


def test_each_of_many_threads_gets_the_answer_it_would_get_alone(pipeline, tmp_path):
    ways = [
        partial(answer, rows=60),
        partial(answer, rows=7),
        *(partial(answer_of, name=name, rows=30) for name in (None, "default", "first", "second")),
        partial(answer_in_lots, rows=20),
        partial(answer_of_the_saved, folder=tmp_path, rows=15),
    ]
    alone = [way(pipeline) for way in ways]
    assert min(np.abs(alone[a] - alone[b]).max() for a, b in ((2, 4), (2, 5), (4, 5))) > 1e-3, "no mix-up is seen"
    modules = [pipeline._adapters.module_of(name) for name in (None, *pipeline.adapters)]
    before = [module_state(module) for module in modules]
    asked = [k for k in range(len(ways)) for _ in range(2)]
    np.random.default_rng(0).shuffle(asked)
    with ThreadPoolExecutor(THREADS) as threads:
        for k, answered in zip(asked, threads.map(lambda k: ways[k](pipeline), asked), strict=True):
            np.testing.assert_allclose(answered, alone[k], atol=2e-5, rtol=2e-4)
    assert [module_state(module) for module in modules] == before


@pytest.mark.parametrize("way", [partial(answer, rows=9), partial(answer_in_lots, rows=9)], ids=["at once", "in lots"])
def test_a_call_that_fails_leaves_nothing_behind(pipeline, way):
    alone, before, chance = way(pipeline), module_state(pipeline._adapters.module), torch.get_rng_state()
    with FailsAt(-1) as counted:
        way(pipeline)
    for number in np.linspace(1, -1 - counted.left, 5, dtype=int):
        with pytest.raises(Broken), FailsAt(int(number)):
            way(pipeline)
        assert module_state(pipeline._adapters.module) == before
    assert torch.equal(torch.get_rng_state(), chance)
    np.testing.assert_array_equal(way(pipeline), alone)
