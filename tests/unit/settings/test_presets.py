"""The preset proposed for a table, with its reason."""

import pytest

from tabtune_core.settings.advice import PRESETS, WHY, proposed


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (569, "rank 4, alpha 8, dropout 0.1, learning rate 2e-4"),
        (10_001, "rank 8, alpha 16, dropout 0.05, learning rate 2e-4"),
        (100_001, "rank 16, alpha 32, dropout 0.02, learning rate 1e-4"),
    ],
)
def test_a_table_gets_the_proposal_for_its_size(rows, said):
    assert PRESETS[proposed(rows)].said == said
    assert WHY[proposed(rows)].startswith(PRESETS[proposed(rows)].title.lower().partition(" (")[0])
