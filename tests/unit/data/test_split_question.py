"""Dates and ids that come again are asked about; measures, places and ids of single rows are not."""

import pytest

from tabtune_core.cli.arguments import answer_flags
from tabtune_core.data.findings import Column
from tabtune_core.data.split_question import read_answer, split_question

ROWS = 1000


def column(name, kind="number", unique=300, missing=0, examples=("1001", "1002", "1003")):
    return Column(name, kind, missing, unique, examples)


@pytest.mark.parametrize(
    ("found", "answers"),
    [
        (column("sold", "date"), ["by time: sold"]),
        (column("Year", unique=12, examples=("2001", "2002")), ["by time: Year"]),
        (column("customer_id"), ["by group: customer_id"]),
        (column("patient", "text", examples=("P1", "P2")), ["by group: patient"]),
        (column("clientId", "category", unique=60, examples=("a", "b")), ["by group: clientId"]),
        (column("subject#", unique=42), ["by group: subject#"]),
        (column("ticket", "text", unique=700, examples=("A/5 21171", "PC 17599")), ["by group: ticket"]),
    ],
)
def test_what_is_asked_about(found, answers):
    question = split_question([found, column("label")], ROWS, "label")
    assert question.options == ("at random", *answers)
    assert repr(found.name) in question.message
    assert question.message.endswith("A split at random trains on rows like the test rows, so scores look too good.")


@pytest.mark.parametrize(
    "found",
    [
        column("city", "text", examples=("Rome", "New York", "Ulm")),
        column("age", unique=70, examples=("34", "51")),
        column("user_age", unique=70),
        column("income", unique=900),
        column("customer_id", unique=1000),
        column("store_id", unique=5),
        column("branch_id", unique=15),
        column("customer_id", missing=600),
        column("customer_id", examples=("1.5", "2.25")),
        column("paid"),
        column("started", "date", unique=3),
        column("model-year", unique=13),
        column("notes", "text", unique=990, examples=("a word", "12 words")),
        column("label", "date"),
    ],
    ids=lambda found: f"{found.name} {found.kind} {found.unique} {found.examples[0]}",
)
def test_what_is_not(found):
    assert split_question([found], ROWS, "label") is None


def test_a_question_has_an_answer_for_every_column_and_a_flag_for_every_answer():
    question = split_question([column("sold on", "date"), column("customer_id")], ROWS, "label")
    assert [read_answer(option) for option in question.options] == [("random", None), ("time", "sold on"), ("group", "customer_id")]
    flags = "--split-by random or --split-by time --split-column 'sold on' or --split-by group --split-column customer_id"
    assert answer_flags(question) == flags
