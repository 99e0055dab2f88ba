"""The Data page without a browser: files, reading choices, columns, the target, and what stops training."""

import io

import pandas as pd
import pytest
from page_steps import button, go, texts, type_in
from streamlit.runtime.scriptrunner import StopException
from streamlit.testing.v1 import AppTest

from dashboard import queries
from dashboard.views.data.columns_table import asked_for, rows
from tabtune_core.data.datasets import add_dataset, list_datasets
from tabtune_core.data.findings import ReadingChoices

CSV = b"name,age,city,bought\n" + b"".join(
    b"p%d,%d,%s,%s\n" % (i, 20 + i % 40, b"Rome" if i % 3 else b"", b"yes" if i % 2 else b"no") for i in range(60)
)
TILDES = b"name~age~bought\n" + b"".join(b"p%d~%d~%s\n" % (i, 20 + i % 40, (b"no", b"yes")[i % 2]) for i in range(60))
PICTURE = b"\x89PNG\r\n\x1a\n" + bytes(500)


def names(home):
    return sorted(dataset.name for dataset in list_datasets(home))


def upload(app: AppTest, *files: tuple[str, bytes]) -> None:
    for name, data in files:
        app.file_uploader[0].upload(name, data)
    app.run()


def parquet() -> bytes:
    buffer = io.BytesIO()
    pd.DataFrame({"a": [1.5, 2.5] * 20, "y": ["k", "l"] * 20}).to_parquet(buffer)
    return buffer.getvalue()


def test_of_several_files_each_failure_is_reported_and_the_others_are_kept(app, home):
    app.run()
    upload(app, ("people.data", CSV), ("picture.csv", PICTURE), ("odd.csv", TILDES), ("small.parquet", parquet()))
    assert not app.exception
    assert names(home) == ["people.data", "small.parquet"]
    errors = texts(app.error)
    assert "picture.csv was not added. The file is a picture" in errors
    assert "odd.csv was not added." in errors and "--" not in errors
    assert app.selectbox(key="chosen_table").value == next(
        found.id for found in list_datasets(home) if found.name == "people.data"
    )
    type_in(app.selectbox(key="reading_delimiter_upload"), "~~")
    button(app, "Try again with these choices").click().run()
    assert "A separator is one character" in texts(app.error)
    type_in(app.selectbox(key="reading_delimiter_upload"), "~")
    button(app, "Try again with these choices").click().run()
    assert names(home) == ["odd.csv", "people.data", "small.parquet"]
    assert not app.error


@pytest.fixture
def mixed(home):
    return add_dataset(
        home,
        b"code,keep,y\n" + b"".join(b"%d,%s,%d\n" % (i % 3, b"ab"[i % 2 : i % 2 + 1], i) for i in range(40)),
        "m.csv",
    )


def kinds(dataset, **edited):
    shown = rows(dataset)
    return dict(zip(shown["Column"], shown["Kind"], strict=True)) | edited


def test_an_edited_table_of_columns_becomes_reading_choices(mixed):
    assert asked_for(mixed, kinds(mixed)) == mixed.reading
    assert asked_for(mixed, kinds(mixed, code="category", keep="left out")).kinds == (
        ("code", "category"),
        ("keep", "ignored"),
    )
    assert asked_for(mixed, kinds(mixed, code="yes / no")).kinds == (("code", "category"),)


def test_one_click_loads_the_sample_and_proposes_its_target(app, home):
    app.run()
    button(app, "Use the sample table").click().run()
    assert not app.exception
    assert names(home) == ["breast_cancer.csv"]
    assert app.selectbox(key="chosen_target").value == "diagnosis"
    assert not [radio for radio in app.radio if radio.key == "chosen_way"], "words are classes, and nothing is asked"


def test_a_table_is_read_again_with_other_choices_and_keeps_its_target(app, home):
    text = "when;code;amount\n" + "".join(
        f"0{i % 9 + 1}/0{i % 7 + 1}/2024;{i % 3};{i if i % 4 else 'lost'}\n" for i in range(60)
    )
    key = add_dataset(home, text.encode(), "codes.csv").id[:12]
    app.run()
    app.selectbox(key="chosen_target").set_value("code").run()
    button(app, "Read the file again").click().run()
    assert "already read with these choices" in texts(app.info)
    app.selectbox(key=f"reading_day_first_{key}").set_value("false")
    app.multiselect(key=f"reading_missing_{key}").set_value(["lost"])
    button(app, "Read the file again").click().run()
    assert not app.exception
    (dataset,) = list_datasets(home)
    choices = {"encoding": "utf-8", "delimiter": ";", "header": True, "day_first": False, "missing_marks": ("lost",)}
    assert dataset.reading == ReadingChoices(**choices)
    assert [column.kind for column in dataset.columns] == ["date", "number", "number"]
    assert app.selectbox(key="chosen_table").value == dataset.id
    assert app.selectbox(key="chosen_target").value == "code"


def test_a_continuous_target_is_a_number_unless_split_and_its_far_values_are_read_as_missing_with_one_click(app, home):
    numbers = "".join(f"{i % 7},{i % 11},{100 + (i * 37) % 50}\n" for i in range(80)) + "1,2,99000\n"
    add_dataset(home, f"a,b,price\n{numbers}".encode(), "prices.csv")
    app.run()
    assert app.radio(key="chosen_way").value == "numbers"
    assert "Always predicting the mean" in texts(app.caption)
    assert "1 value lies far from the others in 'price'" in texts(app.markdown)
    button(app, "Read as missing: 99000").click().run()
    assert not app.exception
    (dataset,) = list_datasets(home)
    assert (dataset.reading.missing_marks, dataset.columns[2].missing) == (("99000",), 1)
    assert not [found for found in app.button if found.label.startswith("Read as missing")]
    app.radio(key="chosen_way").set_value("halves").run()
    assert not app.error
    assert go(app, "new_run").radio(key="chosen_way").value == "halves"


def test_columns_that_leak_or_are_useless_and_copies_of_rows_are_left_out_with_one_click(app, home):
    lines = "\n".join(f"{i % 7},{i % 2},{'yes' if i % 2 else 'no'}" for i in range(90))
    add_dataset(home, f"size,code,bought\n{lines}".encode(), "leak.csv")
    app.run()
    assert "'code' says the same as" in texts(app.markdown)
    button(app, "Leave out code").click().run()
    assert not app.exception
    assert list_datasets(home)[0].columns[1].kind == "ignored"
    button(app, "Leave out the copies").click().run()
    assert list_datasets(home)[0].rows == 14
    assert not [found for found in app.button if found.label.startswith("Leave out")]
    lines = "\n".join(f"{i},7,{i % 5},note {i},{'yes' if i % 2 else 'no'}" for i in range(40))
    useless = add_dataset(home, f"id,same,size,note,bought\n{lines}".encode(), "t.csv").id
    app.run().selectbox(key="chosen_table").set_value(useless).run()
    button(app, "Leave out id, same").click().run()
    kinds = [found.kind for found in next(one for one in list_datasets(home) if one.name == "t.csv").columns]
    assert kinds == ["ignored", "ignored", "number", "text", "boolean"]


NEAR = b"age,a,b,height\n" + b"".join(
    b"%d,%s,%s,%d.5\n" % (20 + i % 40, (b"alive", b"moved")[i % 2], (b"x", b"y")[i // 2 % 2], 150 + i % 9)
    for i in range(60)
)


def test_if_several_columns_are_likely_targets_pills_ask_before_next(app, home):
    table = add_dataset(home, NEAR, "patients.csv").id
    app.run()
    likely = app.pills(key=f"predict_{table[:12]}")
    assert 1 < len(likely.options) <= 3
    assert app.selectbox(key="chosen_target").value == ""
    assert button(app, "Next: choose a model").disabled
    assert "Choose the column to predict first." in texts(app.caption)
    likely.set_value("b").run()
    assert not app.exception
    assert app.selectbox(key="chosen_target").value == "b"
    assert app.query_params["target"] == "b"
    assert not app.pills
    assert not button(app, "Next: choose a model").disabled


class NeverEnding:
    """Stands in for reading a file that takes hours."""

    cancelled = 0

    def progress(self):
        return "Looking at columns: 400 of 5,000"

    def ended(self):
        raise StopException  # a click elsewhere does this to the waiting script

    def cancel(self):
        NeverEnding.cancelled += 1


def test_a_long_reading_shows_progress_and_can_be_cancelled(app, home, monkeypatch):
    app.run()
    with monkeypatch.context() as patched:
        patched.setattr(queries, "start_reading", lambda *asked: NeverEnding())
        upload(app, ("long.csv", CSV))
    assert "Cancel reading" in [found.label for found in app.button]
    button(app, "Cancel reading").click().run()
    assert not app.exception
    assert NeverEnding.cancelled == 1
    assert "Reading was cancelled" in texts(app.info)
    assert not list((home / "datasets").glob("*"))
    upload(app, ("long.csv", CSV))
    assert names(home) == ["long.csv"]


STOPS = {
    "one class": (b"n,y\n" + b"1,a\n2,a\n" * 20, "is 'a' in every row: nothing to learn"),
    "nothing to predict from": (
        b"note,y\n"
        + b"".join(b"note %d of somebody who wrote at length,%s\n" % (i, b"ab"[i % 2 : i % 2 + 1]) for i in range(40)),
        "no columns of numbers, dates or categories",
    ),
    "too few rows": (b"n,y\n1,a\n2,a\n3,a\n4,b\n5,b\n6,b\n", ""),
    "rare classes": (b"n,y\n1,a\n2,a\n3,a\n4,b\n5,c\n6,d\n7,e\n8,e\n", "has fewer than two classes with 3 rows"),
}


def test_problems_that_stop_training_disable_next_and_launch(app, home):
    for what, (data, reason) in STOPS.items():
        table = add_dataset(home, data, f"{what}.csv").id
        app.query_params.clear()
        app.session_state["next_table"] = table
        go(app, "data")
        app.selectbox(key="chosen_target").set_value("y").run()
        assert not app.exception
        following = button(app, "Next: choose a model")
        assert following.disabled == bool(reason), what
        assert (following.proto.type == "primary") == (not reason)
        assert not reason or texts(app.error).count(reason) == 1
        go(app, "new_run")
        assert not app.exception
        (launch,) = [found for found in app.button if found.label.startswith("Launch")]
        assert (launch.disabled, launch.proto.type) == ((True, "secondary") if reason else (False, "primary"))
        if reason:
            assert texts(app.error).count(reason) == 1
            assert "Cannot start" in texts(app.markdown)
