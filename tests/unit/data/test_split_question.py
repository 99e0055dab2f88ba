"""Dates, repeated ids and panels are asked about; measures, places and ids of single rows are not."""

import numpy as np
import pandas as pd
import pytest

from tabtune_core.cli.arguments import answer_flags
from tabtune_core.data.findings import Column
from tabtune_core.data.split_question import last_settings, read_answer, split_question
from tabtune_core.settings import RunSettings


def column(name, kind="number", unique=300, missing=0, examples=("1001", "1002", "1003")):
    return Column(name, kind, missing, unique, examples)


def asked(*columns):
    return split_question(pd.DataFrame({one.name: np.zeros(1000) for one in columns}), columns, "label")


@pytest.mark.parametrize(
    ("found", "answers"),
    [
        (column("sold", "date"), ["by time: sold"]),
        *((column(name, "date"), [f"by time: {name}"]) for name in ("adobe", "bornholm")),
        (column("Year", unique=12, examples=("2001", "2002")), ["by time: Year"]),
        (column("customer_id"), ["by group: customer_id"]),
        *(
            (column(name), [f"by group: {name}"])
            for name in ("mrn", "PID", "Kundennummer", "Kunden-Nr.", "acct_no", "order_no", "PatNr")
        ),
        (column("patient", "text", examples=("P1", "P2")), ["by group: patient"]),
        (column("clientId", "category", unique=60, examples=("a", "b")), ["by group: clientId"]),
        (column("subject#", unique=42), ["by group: subject#"]),
    ],
)
def test_columns_that_may_need_another_split_are_asked_about(found, answers):
    question = asked(found, column("label"))
    assert question.options == ("at random", *answers)
    assert repr(found.name) in question.message


@pytest.mark.parametrize(
    "found",
    [
        column("city", "text", examples=("Rome", "New York", "Ulm")),
        column("age", unique=70, examples=("34", "51")),
        column("user_age", unique=70),
        column("income", unique=900),
        column("isbn", unique=900, examples=("9783161484100", "9780306406157")),
        column("phone", unique=900, examples=("919812345678", "917012345678")),
        *(
            column(name, unique=60, examples=("1", "7"))
            for name in ("num_session", "num_order", "nr_person", "no_case", "key_account")
        ),
        column("customer_id", unique=1000),
        column("store_id", unique=5),
        *(column(name, "date") for name in ("DOB", "date_of_birth", "Geburtsdatum", "patient dob", "date_born")),
        column("branch_id", unique=15),
        column("customer_id", missing=600),
        column("customer_id", examples=("1.5", "2.25")),
        column("paid"),
        column("started", "date", unique=3),
        column("model-year", unique=13),
        column("date", unique=7, examples=("6.0", "4.0", "3.0")),
        column("date", unique=31, examples=("8", "9", "10")),
        column("notes", "text", unique=990, examples=("a word", "12 words")),
        column("label", "date"),
    ],
    ids=lambda found: f"{found.name} {found.kind} {found.unique} {found.examples[0]}",
)
def test_other_columns_are_not_asked_about(found):
    assert asked(found) is None


def test_a_question_has_an_answer_for_every_column_and_a_flag_for_every_answer():
    question = asked(column("sold on", "date"), column("customer_id"))
    assert [*map(read_answer, question.options)] == [("random", None), ("time", "sold on"), ("group", "customer_id")]
    flags = (
        "--split-by random or --split-by time --split-column 'sold on' or --split-by group --split-column customer_id"
    )
    assert answer_flags(question) == flags


def panel(draw, *, observed, moments, share):
    """Returns a panel in random order: a row for a ``share`` of all pairs of country and year, with a column of
    numbers.
    """
    pairs = [(f"place {who}", 2000 + year) for who in range(observed) for year in range(moments)]
    drawn = draw.permutation(len(pairs))[: round(share * len(pairs))]
    frame = pd.DataFrame([pairs[place] for place in drawn], columns=["country", "year"])
    frame["income"] = draw.normal(size=len(frame))
    kinds = {"country": "category", "year": "number", "income": "number"}
    return frame, [
        Column(name, kind, 0, frame[name].nunique(), tuple(map(str, frame[name][:3]))) for name, kind in kinds.items()
    ]


@pytest.mark.parametrize("seed", range(8))
def test_a_panel_is_recognised_only_by_its_pairs(seed):
    draw = np.random.default_rng(seed)
    frame, columns = panel(
        draw, observed=draw.integers(5, 60), moments=draw.integers(4, 20), share=draw.uniform(0.6, 1)
    )
    copied = pd.concat([frame, frame.iloc[: seed % 3]])
    question = split_question(copied, columns, "income")
    assert question.options == ("at random", "by time: year", "by group: country")
    assert f"each of {frame.country.nunique()} values of 'country' has at most one row" in question.message
    again = frame.assign(country=draw.permutation(frame.country.to_numpy()))
    assert "panel" not in split_question(again, columns, "income").message


def test_the_last_run_with_the_same_target_is_remembered_before_others():
    runs = [RunSettings(dataset=table, target=target) for table, target in ("ax", "ay", "bx", "ay")]
    assert last_settings(runs, "a") is runs[3]
    assert last_settings(runs, "a", "x") is runs[0]
    assert last_settings(runs, "a", "z") is runs[3]
    assert last_settings(runs, "c") is None
