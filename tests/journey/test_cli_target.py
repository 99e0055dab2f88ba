"""The command line names the likely target columns, as the page does with buttons, and remembers the choice."""

import pytest

from tabtune_core.cli.request import settle_target
from tabtune_core.data.datasets import add_dataset
from tabtune_core.errors import LabelError
from tabtune_core.settings import RunSettings

ROWS = "".join(f"{20 + i % 40},{'ab'[i % 2]},{'xy'[i // 2 % 2]},{150 + i % 9}.5\n" for i in range(60))


def test_without_a_target_the_likely_columns_are_named(home, store):
    dataset = add_dataset(home, f"age,status,diagnosis,height\n{ROWS}".encode(), "patients.csv")
    with pytest.raises(LabelError, match="with --target. 'diagnosis' is a usual name .* has age, status, diagnosis"):
        settle_target(store, dataset, {})


@pytest.mark.parametrize(
    ("given", "settled"),
    [
        ({}, ("status", "group", "age")),
        ({"target": "status"}, ("status", "group", "age")),
        ({"target": "status", "split_by": "random"}, ("status", "random", None)),
        ({"target": "diagnosis"}, ("diagnosis", None, None)),
    ],
)
def test_target_and_split_of_the_last_run_are_used_and_announced(home, store, capsys, given, settled):
    dataset = add_dataset(home, f"age,status,diagnosis,height\n{ROWS}".encode(), "patients.csv")
    store.add_sweep([RunSettings(dataset=dataset.id, target="status", split_by="group", split_column="age")], "earlier")
    run = dict(given)
    settle_target(store, dataset, run)
    assert (run["target"], run.get("split_by"), run.get("split_column")) == settled
    said = capsys.readouterr().err
    assert ("target: 'status', as in the last run on this table; --target for another" in said) == (not given)
    assert ("split by group: age, as in the last run on this table" in said) == (
        given.get("split_by") is None and settled[1] == "group"
    )
