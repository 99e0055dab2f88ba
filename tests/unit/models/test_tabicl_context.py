"""A context cache: bounded, without effect on predictions, and dropped afterwards."""

import numpy as np
import pytest
import torch
from tiny import tiny_checkpoint

from tabtune_core.models.base import load_model
from tabtune_core.models.catalogue import get_card
from tabtune_core.models.tabicl import model as tabicl


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return load_model(
        get_card("tabicl-v2"),
        "classification",
        torch.device("cpu"),
        tiny_checkpoint(tmp_path_factory.mktemp("tiny") / "tiny"),
    )


def rows(context=40, classes=3):
    rng = np.random.default_rng(0)
    x_TF = rng.normal(size=(context + 12, 5)).astype(np.float32)
    return x_TF[:context], np.arange(context) % classes, x_TF[context:], classes


def bytes_of(cache):
    entries = [entry for part in (cache.col_cache, cache.icl_cache) for entry in part.kv.values()]
    held = [tensor for entry in entries for tensor in (entry.key, entry.value)] + (
        [cache.row_repr] if cache.row_repr is not None else []
    )
    return sum(tensor.numel() * tensor.element_size() for tensor in held)


def sizes(model):
    """Bytes of a cached context with keys and values, and without."""
    x_CF, y_C, _, _ = rows()
    found = []
    for mode in ("kv", "repr"):
        with torch.no_grad():
            model.module.forward_with_cache(
                torch.from_numpy(x_CF[None]),
                torch.from_numpy(y_C[None].astype(np.float32)),
                cache_mode=mode,
                inference_config=model._inference,
            )
        found.append(bytes_of(model.module._cache))
        model.module.clear_cache()
    return found


@pytest.mark.parametrize("place", [0, 1])
def test_the_limit_applies_to_what_the_cache_really_holds(model, monkeypatch, place):
    size, mode, smaller = sizes(model)[place], ("kv", "repr")[place], ("repr", None)[place]
    monkeypatch.setattr(tabicl, "CACHE_BYTES", size)
    assert model._cache_mode(40, 5) == mode
    monkeypatch.setattr(tabicl, "CACHE_BYTES", size - 1)
    assert model._cache_mode(40, 5) == smaller


@pytest.mark.parametrize("kept", ["kv", "repr", None])
@pytest.mark.parametrize("classes", [3, 13])
def test_predictions_are_the_same_whatever_is_cached_and_the_cache_is_dropped_afterwards(
    model, monkeypatch, kept, classes
):
    monkeypatch.setattr(tabicl, "CACHE_BYTES", dict(zip(("kv", "repr", None), (*sizes(model), 0), strict=True))[kept])
    assert model._cache_mode(40, 5) == kept
    x_CF, y_C, x_QF, classes = rows(classes=classes)
    model.module.eval()
    predict = model.read_context(x_CF, y_C, classes)
    for lot in (x_QF[:5], x_QF[5:]):
        np.testing.assert_allclose(predict(lot), model.predict(x_CF, y_C, lot, classes), rtol=0, atol=1e-6)
        assert not model.module.has_cache
