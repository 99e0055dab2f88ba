"""Cutting an update to a lower rank against a dense singular value decomposition."""

import pytest
import torch

from tabtune_core.execution.jobs.truncate_rank import directions


@pytest.fixture
def update():
    """Factors of an adapter, and the dense update."""
    generator = torch.Generator().manual_seed(3)
    a, b = torch.randn(4, 9, generator=generator), torch.randn(6, 4, generator=generator)
    return a, b, (2.5 * b.double() @ a.double())


def test_singular_values_are_those_of_the_dense_update(update):
    a, b, dense = update
    found = directions(a, b, 2.5)
    torch.testing.assert_close(found.values, torch.linalg.svdvals(dense)[:4], atol=1e-9, rtol=0)
    assert found.values.norm().item() == pytest.approx(dense.norm().item())


@pytest.mark.parametrize("rank", [0, 1, 3, 4])
def test_the_cut_is_the_best_approximation_of_its_rank(update, rank):
    a, b, dense = update
    cut_a, cut_b = directions(a, b, 2.5).factors(rank)
    assert (cut_a.shape, cut_b.shape) == (a.shape, b.shape)
    u, s, vt = torch.linalg.svd(dense)
    expected = u[:, :rank] @ torch.diag(s[:rank]) @ vt[:rank]
    torch.testing.assert_close(2.5 * cut_b @ cut_a, expected, atol=1e-9, rtol=0)


def test_an_untrained_adapter_has_no_direction():
    found = directions(torch.randn(3, 5, generator=torch.Generator().manual_seed(0)), torch.zeros(8, 3), 2.0)
    cut_a, cut_b = found.factors(3)
    assert not found.values.any()
    assert not (cut_b @ cut_a).any()
