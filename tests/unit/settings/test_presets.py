"""The preset proposed for a table, with its reason."""

import pytest

from tabtune_core.settings.advice import PRESETS, WHY, proposed


@pytest.mark.parametrize(("rows", "rank", "dropout"), [(569, 4, 0.1), (10_001, 8, 0.05), (100_001, 16, 0.02)])
def test_a_table_gets_the_proposal_for_its_size(rows, rank, dropout):
    found = PRESETS[proposed(rows)]
    assert (found.rank, found.effective_alpha, found.dropout) == (rank, 2 * rank, dropout)
    assert WHY[proposed(rows)].startswith(f"{proposed(rows)} data")
