"""The target is proposed with a reason; a label that cannot be learned is refused with the way out."""

import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tabtune_core.data.merged_classes import GROUPED, group_rare, split_at_median, with_label
from tabtune_core.data.prediction_rows import labels_like
from tabtune_core.data.table import read_table
from tabtune_core.data.target import propose_target
from tabtune_core.data.target_checks import check_classes, check_label
from tabtune_core.errors import LabelError
from tabtune_core.settings import RunSettings

ROWS = 60


def frame(**label) -> pd.DataFrame:
    generator = np.random.default_rng(0)
    return pd.DataFrame({"a": generator.normal(size=ROWS), "b": generator.integers(0, 5, ROWS), **label})


def table(**label):
    return read_table(frame(**label).to_csv(index=False).encode())


@pytest.mark.parametrize(
    ("labels", "column", "task"),
    [
        ({"Churn": ["yes", "no"] * 30, "z": ["k", "l", "m"] * 20}, "Churn", "classification"),
        ({"sort": ["k", "l", "m"] * 20, "target": [1.5, 2.5, 3.5] * 20}, "target", "classification"),
        ({"target": [1, 2, 3] * 20, "sort": ["k", "l", "m"] * 20}, "target", "classification"),
        ({"Umsatz": np.random.default_rng(1).normal(size=ROWS)}, "Umsatz", "regression"),
        ({"left": [0, 1] * 30, "salary": ["low", "high", "mid"] * 20}, "left", "classification"),
        ({"TenYearCHD": [0, 1] * 30}, "TenYearCHD", "classification"),
        ({"loan_status": ["k", "l"] * 30, "key": [f"K{row}" for row in range(ROWS)]}, "loan_status", "classification"),
        ({"result": [*"kl"] * 30, **{f"i_{n}": np.linspace(n, 4, ROWS) for n in range(4)}}, "result", "classification"),
    ],
)
def test_the_likely_target_is_proposed_with_a_reason(labels, column, task):
    proposal = propose_target(table(**labels))
    assert (proposal.column, proposal.task, proposal.near) == (column, task, ())
    assert repr(column) in proposal.reason


@pytest.mark.parametrize(
    ("labels", "title", "first", "among"),
    [
        ({"approved": ["k", "l"] * 30, "diagnosis": [*"mnm"] * 20, "z": [5, 4.5, 6] * 20}, "", "diagnosis", "approved"),
        ({"X": range(ROWS), "Y": range(ROWS), "rain": range(60, 0, -1), "area": [1, 2, 4] * 20}, "", "area", "a"),
        ({"Mildness": np.linspace(3, 4, ROWS), "z": np.linspace(5, 3, ROWS)}, "soap_mildness.csv", "Mildness", "z"),
        ({"G1": [1, 2, 3] * 20, "G2": [1, 2, 2] * 20, "G3": [3, 2, 1] * 20}, "student.csv", "b", "G3"),
    ],
)
def test_where_none_is_certain_up_to_four_columns_are_asked_about(labels, title, first, among):
    proposal = propose_target(table(**labels), title)
    assert proposal.column is None
    assert 2 <= len(proposal.near) <= 4
    assert among in proposal.near
    assert proposal.near[0] == first
    assert not {"X", "Y"} & {*proposal.near}


REFUSED = {
    "absent": ("laebl", ["x", "y"] * 30, "Did you mean 'label'"),
    "all missing": ("label", [None] * ROWS, "missing in every row"),
    "constant": ("label", ["x"] * ROWS, "'x' in every row"),
    "an id": ("label", [f"K{row}" for row in range(ROWS)], "different value in each of 60 rows"),
    "a measure": ("label", np.linspace(0, 1, ROWS), "setting split_at_median=true"),
    "too many classes": ("label", [f"c{row % 12}" for row in range(ROWS)], "12 classes; this model takes at most 10"),
    "too many whole numbers": ("label", [row % 12 for row in range(ROWS)], "at most 10. Split it at its median"),
    "one number": ("label", [2.0] * 59 + [None], "is '2' in every row"),
    "one class of a size": ("label", ["x"] * 58 + ["y", "y"], r"fewer than two classes with 3 rows.*y \(2\)"),
}


@pytest.mark.parametrize(("target", "label", "said"), REFUSED.values(), ids=REFUSED)
def test_a_label_that_cannot_be_learned_is_refused_with_a_way_out(target, label, said):
    with pytest.raises(LabelError, match=said):
        check_label(frame(label=label), target, max_classes=10)


@pytest.mark.parametrize(
    ("label", "found"),
    [
        (["x", "y"] * 30, []),
        ([0, 1] * 30, []),
        (["x", "y", None] * 20, ["label-missing"]),
        (["x", "y"] * 29 + ["z", "z"], ["rare-classes"]),
        (["x"] * 57 + ["y"] * 3, ["imbalance"]),
        (["x"] * 55 + ["y"] * 3 + ["z", "z"], ["rare-classes", "imbalance"]),
    ],
)
def test_a_label_that_can_be_learned_passes_with_its_findings(label, found):
    assert [finding.code for finding in check_label(frame(label=label), "label", max_classes=10)] == found


@pytest.mark.parametrize("usual", ["x", "other"])
def test_rare_classes_are_grouped_into_one_also_in_other_rows(usual):
    table = frame(label=[usual] * 30 + ["y"] * 22 + ["u", "v"] * 3 + ["w"] + [None])
    run = RunSettings(dataset="d", target="label", group_rare_classes=GROUPED)
    (told,) = (found.message for found in check_label(table, "label", max_classes=None) if found.code == "rare-classes")
    assert f"setting group_rare_classes={GROUPED}" in told
    grouped = with_label(table, run)
    assert grouped["label"].tolist() == [usual] * 30 + ["y"] * 22 + ["other"] * 7 + [None]
    assert "rare-classes" not in [finding.code for finding in check_label(grouped, "label", max_classes=3)]
    rows = pd.DataFrame({"label": ["y", "u", "new", None]})
    assert labels_like(rows, run, sorted({usual, "y", "other"})).tolist() == ["y", "other", "other", None]


def test_a_recoded_copy_of_the_label_is_named():
    label = np.random.default_rng(1).choice(["x", "y", "z"], ROWS)
    copied = pd.Series(label).map({"x": 7, "y": 8, "z": 9})
    found = check_label(table(code=copied, label=label).frame, "label", max_classes=10)
    assert [(finding.code, finding.column) for finding in found] == [("leak", "code")]


def test_numbers_pass_for_regression_and_words_do_not():
    numbers = frame(label=np.linspace(0, 1, ROWS), word=["x", "y"] * 30)
    assert check_label(numbers, "label", max_classes=10, task="regression") == ()
    with pytest.raises(LabelError, match="regression needs numbers"):
        check_label(numbers, "word", max_classes=10, task="regression")
    with pytest.raises(LabelError, match=r"2e\+200, whose square no float holds"):
        check_label(numbers.assign(label=numbers["label"] * 2e200), "label", max_classes=10, task="regression")
    with pytest.raises(LabelError, match="2e-200, whose square no float holds. Rescale"):
        check_label(numbers.assign(label=numbers["label"] * 2e-200), "label", max_classes=10, task="regression")


def test_the_split_at_the_median_gives_two_classes_and_keeps_missing_values():
    halves = split_at_median(pd.Series([1, 2, 3, 10, np.nan], name="y"))
    assert halves[:4].tolist() == ["<= 2.5", "<= 2.5", "> 2.5", "> 2.5"]
    assert halves.isna().tolist() == [False] * 4 + [True]
    assert halves.name == "y"


@pytest.mark.parametrize(("values", "said"), [(["x", "y"], "words"), ([0, 1, 1, 1], "No value of 'y' is above")])
def test_a_split_at_the_median_that_does_not_give_two_classes_is_refused(values, said):
    with pytest.raises(LabelError, match=said):
        split_at_median(pd.Series(values, name="y"))


@pytest.mark.parametrize(
    ("rows", "told"),
    [({"x": 91, "y": 9}, True), ({"x": 90, "y": 10}, False), ({name: 8 for name in "abcdefghijklm"}, False)],
)
def test_a_class_below_a_tenth_is_reported_with_the_way_out(rows, told):
    labels = [name for name, count in rows.items() for _ in range(count)]
    frame = pd.DataFrame({"a": np.arange(len(labels)) % 7, "label": labels})
    found = [told.message for told in check_label(frame, "label", max_classes=None) if told.code == "imbalance"]
    assert len(found) == told
    for message in found:
        assert message.startswith("'y' has 9 of 100 rows, and always answering 'x' is right in 91%: rank by average")
        assert "with balanced class weights" in message


@pytest.mark.parametrize(
    ("values", "far"),
    [
        ([*np.random.default_rng(0).lognormal(12, 0.4, 300), 9.9e8], "990,000,000"),
        ([*np.random.default_rng(0).normal(size=300), -500, 1e6], "1,000,000, -500"),
        (np.random.default_rng(0).lognormal(0, 2, 3000), None),
        (np.random.default_rng(0).poisson(0.05, 300) * 40 + 1, None),
        (np.random.default_rng(0).normal(size=300), None),
    ],
)
def test_outliers_are_reported_and_long_tails_are_not(values, far):
    found = [one.message for one in check_label(pd.DataFrame({"y": values}), "y", max_classes=None, task="regression")]
    assert [far in message for message in found] == ([] if far is None else [True])


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(3, 6), min_size=11, max_size=14))
def test_the_advised_grouping_leaves_classes_that_the_model_takes(sizes):
    labels = pd.Series([f"c{number}" for number, size in enumerate(sizes) for _ in range(size)], name="y")
    with pytest.raises(LabelError) as refused:
        list(check_classes(labels, "y", 10, 3))
    advised = re.search(r"setting group_rare_classes=(\d+) leaves", str(refused.value))
    assert (advised is None) == (sorted(sizes)[-10] == max(sizes))
    assert advised is None or 2 <= group_rare(labels, int(advised[1])).nunique() <= 10
