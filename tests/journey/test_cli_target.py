"""The command line names the columns between which a person should decide, as the page does with buttons."""

import pytest

from tabtune_core.cli.request import settle_target
from tabtune_core.data.datasets import add_dataset
from tabtune_core.errors import LabelError

ROWS = "".join(f"{20 + i % 40},{'ab'[i % 2]},{'xy'[i // 2 % 2]},{150 + i % 9}.5\n" for i in range(60))


def test_without_a_target_the_near_columns_are_named(home, store):
    dataset = add_dataset(home, f"age,status,diagnosis,height\n{ROWS}".encode(), "patients.csv")
    with pytest.raises(LabelError, match="--target. Likely: 'diagnosis', which is a usual name.*'status', which is a usual name"):
        settle_target(store, dataset, {})
