"""Devices for tests of what only a card can show. What can be shown on the CPU too is, so that the test itself is tried everywhere."""

import pytest
import torch

NO_CARD = "torch sees no CUDA card on this machine"
needs_card = pytest.mark.skipif(not torch.cuda.is_available(), reason=NO_CARD)


@pytest.fixture(params=["cpu", pytest.param("cuda:0", marks=[pytest.mark.gpu, needs_card])])
def device(request):
    return torch.device(request.param)


@pytest.fixture
def card():
    if not torch.cuda.is_available():
        pytest.skip(NO_CARD)
    return torch.device("cuda:0")


@pytest.fixture
def second_card(card):
    if torch.cuda.device_count() < 2:
        pytest.skip("torch sees one CUDA card, and this takes two")
    return torch.device("cuda:1")
