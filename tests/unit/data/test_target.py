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
from tabtune_core.data.target import propose_target, ways_of
from tabtune_core.data.target_checks import check_classes, check_label
from tabtune_core.data.target_ranking import name_weight, rank_targets
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
        ({"rings": np.random.default_rng(1).permutation(list(range(1, 31)) * 2)}, "rings", "regression"),
        ({"sort": ["k", "l", "m"] * 20, "target": [1.5, 2.5, 3.5] * 20}, "target", "classification"),
        ({"Umsatz": np.random.default_rng(1).normal(size=ROWS)}, "Umsatz", "regression"),
        (
            {"label": ["k", "l", "m"] * 20, "amount": np.random.default_rng(1).normal(size=ROWS)},
            "label",
            "classification",
        ),
        ({"目标": ["k", "l"] * 30, "z": np.linspace(3, 4, ROWS)}, "目标", "classification"),
        ({"loan_status": ["k", "l"] * 30, "key": [f"K{row}" for row in range(ROWS)]}, "loan_status", "classification"),
    ],
)
def test_the_likely_target_is_proposed_with_a_reason(labels, column, task):
    proposal = propose_target(table(**labels))
    assert (proposal.column, proposal.task, proposal.near) == (column, task, ())
    assert repr(column) in proposal.reason


def test_a_column_named_like_the_table_is_proposed_at_any_position():
    named = frame(z=np.linspace(3, 4, ROWS)).rename(columns={"b": "Mildness"})
    read = read_table(named.to_csv(index=False).encode())
    likeliest = [propose_target(read, title).near[0] for title in ("soaps.csv", "soap_mildness.csv", "Mild soaps")]
    assert likeliest == ["z", "Mildness", "Mildness"]


def test_rows_sorted_by_the_target_do_not_hide_it():
    """Many tables are sorted by the target; their first thousand rows would show only one of its values."""
    generator, kind = np.random.default_rng(0), np.repeat(["no", "yes"], 2_000)
    measures = {f"m {letter}": (kind == "yes") + generator.normal(size=4_000) for letter in "abcd"}
    frame = pd.DataFrame({**measures, "v": kind, "m e": generator.normal(size=4_000)})
    ranked = rank_targets((read := read_table(frame.to_csv(index=False).encode())).columns, read.frame, "", ())
    assert ranked[0].column.name == "v"


@pytest.mark.parametrize(
    "name",
    ["y.box", "x y", "how many days of sick leave did you take last year", "in which class of costs do you see it"],
)
def test_a_letter_or_a_word_within_a_question_does_not_name_a_target(name):
    assert name_weight(name) == 0


def test_likely_columns_are_asked_about_with_the_reason_for_each():
    halves = np.random.default_rng(1).permuted([["k", "l"] * 30, ["m", "n"] * 30], axis=1)
    proposal = propose_target(
        table(status=halves[0], diagnosis=halves[1], z=np.random.default_rng(2).normal(size=ROWS))
    )
    assert proposal.column is None
    assert set(proposal.near[:2]) == {"status", "diagnosis"}
    assert len(proposal.near) == 4
    assert "'status', which is a usual name" in proposal.reason
    assert "'a', which is the first column" in proposal.reason


def test_the_position_of_a_column_is_the_one_in_the_file():
    key, day = [f"K{row}" for row in range(ROWS)], pd.date_range("2026-01-01", periods=ROWS).astype(str)
    proposal = propose_target(
        read_table(
            pd.DataFrame({"key": key, "p": [1.5, 2.5] * 30, "q": [2.5, 3.5, 2.5] * 20, "day": day})
            .to_csv(index=False)
            .encode()
        )
    )
    assert "'p', which is the first column that fits" in proposal.reason
    assert "'q', which is the last column that fits" in proposal.reason


def test_columns_of_a_series_and_ids_are_not_proposed():
    series = {f"item_{number}": np.linspace(number, 4, ROWS) for number in range(4)}
    assert propose_target(table(outcome=["k", "l"] * 30, **series)).column == "outcome"
    assert propose_target(table(price=[f"K{row}" for row in range(ROWS)], kind=["k", "l"] * 30)).column != "price"


def test_of_equivalent_columns_only_the_one_with_the_likeliest_name_is_proposed():
    price = np.random.default_rng(1).lognormal(size=ROWS)
    proposal = propose_target(table(price=price, lprice=np.log(price)))
    assert "lprice" not in (proposal.column, *proposal.near)
    assert "price" in (proposal.column, *proposal.near)
    assert propose_target(table(alive=["yes", "no", "no"] * 20, survived=[1, 0, 0] * 20)).column == "alive"


def test_a_column_that_depends_on_the_others_is_likelier():
    known = np.random.default_rng(1).normal(size=(3, ROWS))
    names = ["p", "q", "sum", "r", "t"]
    values = [known[0], known[1], known.sum(axis=0), known[2], np.random.default_rng(2).normal(size=ROWS)]
    read = read_table(pd.DataFrame(dict(zip(names, values, strict=True))).to_csv(index=False).encode())
    proposal = propose_target(read)
    assert "sum" in proposal.near
    assert "'sum', which goes with the other columns more than most" in proposal.reason


def test_names_of_descriptions_and_of_values_known_in_advance_carry_no_weight():
    weights = [
        name_weight(name)
        for name in ("sale_price", "ncases", "durat", "worldconsumption", "price_date", "Geschlecht", "zzz")
    ]
    assert [weight > 0 for weight in weights] == [True, True, True, True, False, False, False]


@pytest.mark.parametrize(
    ("filled", "place", "offered"),
    [(1, [0], True), (0.6, [0], True), (0.4, [7], True), (0.1, [7], True), (0.05, [], False)],
)
def test_a_column_that_is_mostly_missing_comes_last_or_is_not_proposed(filled, place, offered):
    notes = np.where(np.arange(600) < filled * 600, ["good", "bad"] * 300, "")
    values = {name: np.random.default_rng(seed).normal(size=600).round(2) for seed, name in enumerate("pqrstub")}
    read = read_table(pd.DataFrame({"notes": notes, **values}).to_csv(index=False).encode())
    ranked = rank_targets(read.columns, read.frame, "", ())
    assert [at for at, one in enumerate(ranked) if one.column.name == "notes"] == place
    proposal = propose_target(read)
    assert ("notes" in (proposal.column, *proposal.near)) == offered


def test_a_nearly_empty_column_is_proposed_if_all_are():
    notes = np.where(np.arange(600) < 12, ["good", "bad"] * 300, "")
    read = read_table(
        pd.DataFrame({"key": [f"K{row}" for row in range(600)], "notes": notes}).to_csv(index=False).encode()
    )
    assert propose_target(read).column == "notes"


def test_nothing_is_proposed_if_nothing_can_be_predicted():
    keys = pd.DataFrame({"key": [f"K{row}" for row in range(ROWS)], "same": 1})
    assert propose_target(read_table(keys.to_csv(index=False).encode())).column is None


REFUSED = {
    "absent": ("laebl", ["x", "y"] * 30, "Did you mean 'label'"),
    "all missing": ("label", [None] * ROWS, "missing in every row"),
    "constant": ("label", ["x"] * ROWS, "'x' in every row"),
    "an id": ("label", [f"K{row}" for row in range(ROWS)], "different value in each of 60 rows"),
    "a measure": ("label", np.linspace(0, 1, ROWS), "--set split_at_median=true"),
    "too many classes": ("label", [f"c{row % 12}" for row in range(ROWS)], "12 classes; this model takes at most 10"),
    "too many whole numbers": ("label", [row % 12 for row in range(ROWS)], "at most 10. Split it at its median"),
    "a class as long as a page": ("label", ["x" * 10_001, "y"] * 30, "has 10,001 letters"),
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
    assert f"--set group_rare_classes={GROUPED}" in told
    grouped, group = with_label(table, run), "other_" if usual == "other" else "other"
    assert grouped["label"].tolist() == [usual] * 30 + ["y"] * 22 + [group] * 7 + [None]
    assert "rare-classes" not in [finding.code for finding in check_label(grouped, "label", max_classes=3)]
    rows = pd.DataFrame({"label": ["y", "u", "new", None]})
    assert labels_like(rows, run, sorted({usual, "y", group})).tolist() == ["y", group, group, None]


def test_context_rows_may_be_few():
    label = ["x"] * 5 + ["y"]
    assert check_label(pd.DataFrame({"label": label}), "label", max_classes=10, split=False) == ()
    assert (
        check_label(pd.DataFrame({"label": [1.5, 2.5]}), "label", max_classes=None, task="regression", split=False)
        == ()
    )


def test_without_a_limit_any_number_of_classes_passes():
    assert check_label(frame(label=[f"c{row % 12}" for row in range(ROWS)]), "label", max_classes=None) == ()


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
    with pytest.raises(LabelError, match=r"numbers such as 2e\+200, whose squares are too large to compute with"):
        check_label(numbers.assign(label=numbers["label"] * 2e200), "label", max_classes=10, task="regression")
    with pytest.raises(
        LabelError, match="no number larger than 2e-200, and their squares are too small to compute with. Multiply"
    ):
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


def test_a_column_without_a_value_above_its_median_is_not_offered_in_halves():
    assert ways_of(pd.Series([1, 2, 3, 3, 3])) == ("classes", "numbers")
    assert ways_of(pd.Series([1, 2, 3, 4, 4])) == ("classes", "numbers", "halves")


def test_counts_with_rare_values_are_numbers_first_and_may_be_classes():
    rings = pd.Series([*range(1, 11)] * 100 + [*range(11, 29)])
    assert ways_of(rings) == ("numbers", "classes", "halves")
    assert ways_of(pd.Series([*range(1, 29)] * 50)) == ("classes", "numbers", "halves")
    assert ways_of(pd.Series([*range(30)] * 10)) == ("numbers", "classes", "halves")


@pytest.mark.parametrize(
    ("rows", "told"),
    [({"x": 91, "y": 9}, True), ({"x": 90, "y": 10}, False), ({name: 8 for name in "abcdefghijklm"}, False)],
)
def test_a_class_below_a_tenth_is_reported_with_the_way_out(rows, told):
    labels = [name for name, count in rows.items() for _ in range(count)]
    frame = pd.DataFrame({"a": np.arange(len(labels)) % 7, "label": labels})
    found = [
        finding.message for finding in check_label(frame, "label", max_classes=None) if finding.code == "imbalance"
    ]
    assert len(found) == told
    for message in found:
        assert message.startswith(
            "The class 'y' has 9 of 100 rows, and always answering 'x' is right in 91%: rank by balanced accuracy or"
        )
        assert "average precision, not by accuracy, and try class weights 'balanced'" in message


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


@pytest.mark.parametrize("name", ["discount", "Promo", "account"])
def test_a_word_that_only_ends_like_a_target_name_does_not_name_a_target(name):
    assert name_weight(name) == 0


def test_the_last_mark_of_a_series_is_among_the_four_in_question():
    rng = np.random.default_rng(0)
    names = ("kind", "status", "school", "absences", "result", "paid", "G1", "G2", "G3")
    table = read_table(pd.DataFrame({name: rng.integers(0, 4, 60) for name in names}).to_csv(index=False).encode())
    proposal = propose_target(table, "student.csv")
    assert len(proposal.near) == 4 and proposal.near[-1] == "G3"
    assert proposal.reason.endswith("'G3', which is the last column.")


def test_a_year_is_not_proposed_for_sharing_the_table_s_name():
    rng = np.random.default_rng(0)
    columns = {
        "budgetYear": np.arange(60) // 2 + 1980,
        "value": rng.normal(size=60),
        "forecastYear": rng.integers(1980, 2020, 60),
    }
    proposal = propose_target(read_table(pd.DataFrame(columns).to_csv(index=False).encode()), "budgets.csv")
    assert (proposal.column or proposal.near[0]) == "value"


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(3, 6), min_size=11, max_size=14))
def test_the_advised_grouping_leaves_classes_that_the_model_takes(sizes):
    labels = pd.Series([f"c{number}" for number, size in enumerate(sizes) for _ in range(size)], name="y")
    with pytest.raises(LabelError) as refused:
        list(check_classes(labels, "y", 10, 3))
    advised = re.search(r"--set group_rare_classes=(\d+) leaves", str(refused.value))
    assert (advised is None) == (sorted(sizes)[-10] == max(sizes))
    assert advised is None or 2 <= group_rare(labels, int(advised[1])).nunique() <= 10
