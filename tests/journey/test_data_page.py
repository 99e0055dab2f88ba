"""The Data page without a browser: several files at once, corrected kinds, left-out columns and their findings."""

import io

import pandas as pd
import pytest
from page_steps import button, go, texts, type_in
from streamlit.runtime.scriptrunner import StopException, get_script_run_ctx
from streamlit.testing.v1 import AppTest

from dashboard import queries
from dashboard.views.data.columns_table import FOUND_OUT, KINDS, asked_for, rows
from dashboard.views.data.table_notes import limit_notes, missing_note, size_note
from tabtune_core.data.datasets import add_dataset, add_sample, list_datasets
from tabtune_core.data.findings import Column, ReadingChoices
from tabtune_core.models.catalogue import get_card
from tabtune_core.settings import RunSettings
from tabtune_core.store.runs import RunStore

CSV = b"name,age,city,bought\n" + b"".join(
    b"p%d,%d,%s,%s\n" % (i, 20 + i % 40, b"Rome" if i % 3 else b"", b"yes" if i % 2 else b"no") for i in range(60)
)
TILDES = b"name~age~bought\n" + b"".join(
    b"p%d~%d~%s\n" % (i, 20 + i % 40, b"yes" if i % 2 else b"no") for i in range(60)
)
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
    told = texts(app.error).replace("\\", "")
    assert "picture.csv was not added. The file is a PNG picture" in told
    assert "odd.csv was not added." in told
    assert "2 of 4 files were added: people.data, small.parquet" in texts(app.success).replace("\\", "")
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


def test_only_a_file_that_was_added_before_is_reported_as_such(app, home):
    app.run()
    upload(app, ("first.csv", CSV))
    assert names(home) == ["first.csv"]
    assert "already" not in texts(app.info)
    upload(app, ("second.csv", CSV))
    assert "second.csv is already in this workspace, as first.csv" in texts(app.info).replace("\\", "")
    assert names(home) == ["first.csv"]
    upload(app, ("third.csv", CSV), ("small.parquet", parquet()))
    assert "1 of 2 files were added: small.parquet." in texts(app.success).replace("\\", "")


def test_a_name_that_looks_like_a_path_is_only_a_label(app, home):
    app.run()
    upload(app, ("../../x.csv", CSV))
    assert not app.exception
    (dataset,) = list_datasets(home)
    assert dataset.name.endswith("x.csv")
    assert not list(home.parent.glob("x.csv*"))
    assert not list(home.rglob("x.csv*"))


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


def test_a_chosen_kind_can_be_taken_back(home, mixed):
    chosen = add_dataset(home, b"a,b\n1,x\n2,y\n", "t.csv", ReadingChoices(kinds=(("a", "category"),)))
    assert asked_for(chosen, kinds(chosen, a=FOUND_OUT)).kinds == ()
    assert asked_for(chosen, kinds(chosen)).kinds == (("a", "category"),)


def test_every_kind_has_its_own_word():
    assert len(set(KINDS.values())) == len(KINDS)


def test_kinds_are_forgotten_when_the_layout_changes_the_columns(app, home):
    dataset = add_dataset(home, CSV, "p.csv", ReadingChoices(kinds=(("age", "category"),)))
    app.run()
    app.selectbox(key=f"reading_header_{dataset.id[:12]}").set_value("false")
    button(app, "Read the file again").click().run()
    assert not app.error
    assert [found.reading.kinds for found in list_datasets(home)] == [()]


def test_the_target_stays_when_the_file_is_read_again(app, home):
    dataset = add_dataset(home, CSV, "p.csv")
    app.run()
    app.selectbox(key="chosen_target").set_value("city").run()
    app.selectbox(key=f"reading_day_first_{dataset.id[:12]}").set_value("true")
    button(app, "Read the file again").click().run()
    assert not app.exception
    assert app.selectbox(key="chosen_target").value == "city"


def test_a_target_chosen_by_a_button_stays_while_questions_are_answered(app, home):
    marks = NEAR.replace(b"25,", b"-999,").replace(b",152.5", b",-9999")
    add_dataset(home, marks, "patients.csv")
    app.run()
    button(app, "diagnosis").click().run()
    app.button_group[0].set_value(["-999"]).run()
    for label in ("Read the file again with these answers", r"Read as missing: \-9999"):
        button(app, label).click().run()
        assert not app.exception
        assert app.selectbox(key="chosen_target").value == app.query_params["target"] == "diagnosis"
    assert not list_datasets(home)[0].questions


def test_points_between_thousands_are_answered_by_column_and_the_answer_can_be_taken_back(app, home):
    lines = "".join(
        f"{name};{number};{'ab'[number == '607']}\n" for name in range(9) for number in ("607", "1.652", "24.000")
    )
    add_dataset(home, f"town;people;label\n{lines}".encode(), "towns.csv")
    app.run()
    app.button_group[0].set_value(["people"]).run()
    button(app, "Read the file again with these answers").click().run()
    (dataset,) = list_datasets(home)
    assert (dataset.reading.decimal_commas, dataset.questions) == ((("people", True),), ())
    app.multiselect(key=f"reading_commas_{dataset.id[:12]}").set_value([])
    button(app, "Read the file again").click().run()
    assert not app.exception
    (dataset,) = list_datasets(home)
    assert (dataset.reading.decimal_commas, [question.options for question in dataset.questions]) == ((), [("people",)])


def test_totals_are_left_out_by_an_answer_that_can_be_taken_back(app, home):
    lines = "".join(f"{name},{row},{row * row}\n" for name in "ab" for row in range(9)).replace(
        "b,0,0", "Total a,36,204\nb,0,0"
    )
    add_dataset(home, f"group,n,m\n{lines}".encode(), "groups.csv")
    app.run()
    assert list_datasets(home)[0].rows == 19
    app.radio[0].set_value("true").run()
    button(app, "Read the file again with these answers").click().run()
    (dataset,) = list_datasets(home)
    assert (dataset.rows, dataset.questions) == (18, ())
    app.checkbox(key=f"reading_drop_totals_{dataset.id[:12]}").uncheck()
    button(app, "Read the file again").click().run()
    assert not app.exception
    assert list_datasets(home)[0].rows == 19


def test_a_column_of_commas_between_thousands_is_corrected_where_the_warning_says(app, home):
    add_dataset(home, b"price;label\n" + b"$617,557;a\n$948,618;b\n$605,067;a\n" * 9, "houses.csv")
    app.run()
    (dataset,) = list_datasets(home)
    assert "'Columns with decimal commas' under Reading choices" in "".join(one.message for one in dataset.findings)
    app.multiselect(key=f"reading_commas_{dataset.id[:12]}").set_value([])
    button(app, "Read the file again").click().run()
    assert not app.exception
    assert list_datasets(home)[0].reading.decimal_commas == (("price", False),)


def test_a_column_that_reveals_the_target_is_named_with_what_to_do(app, home):
    lines = "\n".join(f"{i % 7},{i % 2 * 10 + i % 5},{'yes' if i % 2 else 'no'}" for i in range(90))
    add_dataset(home, f"size,refund,bought\n{lines}".encode(), "leak.csv")
    app.run()
    told = texts(app.markdown).replace("\\", "")
    assert "'refund' may give 'bought' away" in told
    assert "Leave it out unless it is known before the outcome is" in told
    assert "**Check**" in texts(app.markdown)


def test_a_column_that_is_the_target_under_another_name_is_left_out_with_one_click(app, home):
    lines = "\n".join(f"{i % 7},{i % 2},{'yes' if i % 2 else 'no'}" for i in range(90))
    add_dataset(home, f"size,code,bought\n{lines}".encode(), "leak.csv")
    app.run()
    assert "'code' says the same as the label" in texts(app.markdown).replace("\\", "")
    button(app, "Leave out code").click().run()
    assert not app.exception
    assert list_datasets(home)[0].columns[1].kind == "ignored"
    button(app, "Leave out the copies").click().run()
    assert list_datasets(home)[0].rows == 14
    assert "Leave out the copies" not in [found.label for found in app.button]
    assert "'code' says the same as the label" not in texts(app.markdown).replace("\\", "")


def test_two_columns_that_are_the_target_together_are_left_out_with_one_click(app, home):
    lines = "\n".join(f"{i % 7 / 8},{i * i % 31},{i * 7 % 53},{i * i % 31 + i * 7 % 53}" for i in range(200))
    add_dataset(home, f"temp,casual,registered,cnt\n{lines}".encode(), "bikes.csv")
    app.run()
    app.selectbox(key="chosen_target").set_value("cnt").run()
    assert "'casual' + 'registered' gives 'cnt' in all 200 rows" in texts(app.markdown).replace("\\", "")
    button(app, "Leave out casual, registered").click().run()
    assert not app.exception
    assert [found.kind for found in list_datasets(home)[0].columns] == ["number", "ignored", "ignored", "number"]
    assert "gives 'cnt'" not in texts(app.markdown).replace("\\", "")


def test_useless_columns_are_left_out_with_one_click(app, home):
    lines = "\n".join(f"{i},7,{i % 5},note {i},{'yes' if i % 2 else 'no'}" for i in range(40))
    add_dataset(home, f"id,same,size,note,bought\n{lines}".encode(), "t.csv")
    app.run()
    button(app, "Leave out id, same").click().run()
    assert not app.exception
    (dataset,) = list_datasets(home)
    assert [found.kind for found in dataset.columns] == ["ignored", "ignored", "number", "text", "boolean"]
    assert not [found for found in app.button if found.label.startswith("Leave out")]


def test_free_text_is_encoded_with_one_click_and_an_id_is_not_offered(app, home):
    lines = "\n".join(f"order-{i},parcel {i} came too late,{i % 5},{'yes' if i % 2 else 'no'}" for i in range(40))
    add_dataset(home, f"code,note,size,bought\n{lines}".encode(), "t.csv")
    app.run()
    assert "'note' is read as free text, which no model sees" in texts(app.markdown).replace("\\", "")
    button(app, "Encode note").click().run()
    assert not app.exception
    (dataset,) = list_datasets(home)
    assert [found.kind for found in dataset.columns] == ["text", "encoded", "number", "boolean"]
    assert not [found for found in app.button if found.label.startswith("Encode")]


def test_an_unanswered_question_is_asked_again_after_a_kind_was_changed(app, home):
    days = "\n".join(["day,id,label", *(f"0{i % 9 + 1}/0{i % 7 + 1}/2024,{i},{'ab'[i % 2]}" for i in range(40))])
    add_dataset(home, days.encode(), "days.csv")
    app.run()
    assert "can be read day first or month first" not in texts(
        app.markdown
    )  # asked as a question, and not repeated as a finding
    button(app, "Leave out id").click().run()
    (dataset,) = list_datasets(home)
    assert [question.field for question in dataset.questions] == ["day_first"]


def column(name, kind="number", missing=0):
    return Column(name, kind, missing, 5, ())


def test_missing_values_are_counted_by_column_with_the_most_first():
    columns = [column("a", missing=2), column("b"), column("c", missing=7), column("d", "ignored", missing=9)]
    assert missing_note(columns)[0].message.startswith("2 columns have missing values: c (7), a (2).")
    assert missing_note([column("b")]) == []
    assert missing_note(columns, "c")[0].message.startswith("1 column has missing values: a (2).")
    assert missing_note([Column("empty", "text", 9, 0, ())]) == []


def test_few_rows_are_reported_with_the_sizes_of_their_splits():
    of_classes, of_numbers = (size_note(100, task)[0].message for task in ("classification", "regression"))
    assert "100 rows leave about 20" in of_classes
    assert ("of accuracy" in of_classes, "of accuracy" in of_numbers) == (True, False)
    assert size_note(500, "regression") == []


def test_the_limits_of_the_models_are_named_with_what_to_do():
    wide = [column(f"c{i}") for i in range(502)] + [Column("empty", "number", 9, 0, ())]
    mitra, tabicl = (get_card(name).family for name in ("mitra-mini", "tabicl-mini"))
    (note,) = limit_notes(mitra, wide, "c0", "classification", 28)
    assert note.message.startswith(
        "Mitra takes at most 500 columns (here 501: leave some out below) and 10 classes (here 28"
    )
    assert (
        limit_notes(tabicl, wide, "c0", "classification", 28)
        == limit_notes(mitra, wide[:5], "c0", "regression", 0)
        == []
    )
    # this stops training and is shown as such
    assert limit_notes(mitra, [column("t", "text"), column("y")], "y", "classification", 2) == []


def test_deleting_says_what_it_removes(app, home):
    add_sample(home, "iris")
    app.run()
    assert "Removes the table and its file" in texts(app.caption)
    button(app, "Delete this table").click().run()
    assert not app.exception
    assert list_datasets(home) == []


NEAR = b"age,status,diagnosis,height\n" + b"".join(
    b"%d,%s,%s,%d.5\n" % (20 + i % 40, (b"alive", b"moved")[i % 2], (b"x", b"y")[i // 2 % 2], 150 + i % 9)
    for i in range(60)
)


def test_if_several_columns_are_likely_targets_a_button_chooses_before_next(app, home):
    add_dataset(home, NEAR, "patients.csv")
    app.run()
    assert "What do you want to predict?" in texts(app.markdown)
    assert app.selectbox(key="chosen_target").value == ""
    assert button(app, "Next: choose a model").disabled
    assert "Choose the column to predict first." in texts(app.caption)
    button(app, "diagnosis").click().run()
    assert not app.exception
    assert app.selectbox(key="chosen_target").value == "diagnosis"
    assert app.query_params["target"] == "diagnosis"
    assert "What do you want to predict?" not in texts(app.markdown)
    assert not button(app, "Next: choose a model").disabled


def test_a_shortened_name_is_complete_in_the_tooltip(app, home):
    long, other = (f"asked_in_a_survey_with_all_of_its_words_{last}" for last in ("diagnosis", "status"))
    table = "what somebody exported on a day in the spring.csv"
    add_dataset(home, NEAR.replace(b"diagnosis", long.encode()).replace(b"status", other.encode()), table)
    app.run()
    assert not app.exception
    assert app.selectbox(key="chosen_table").help.replace("\\", "").startswith(table)
    whole = {one.label: one.help for one in app.button if "predict_" in (one.key or "")}
    assert {name.replace("\\", "") for name, full in whole.items() if full == name} == {long, other}
    assert len(whole) == 4, "the others have short names"


def test_the_column_of_the_last_run_is_proposed_again(app, home):
    table = add_dataset(home, NEAR, "patients.csv")
    RunStore(home).add_sweep([RunSettings(dataset=table.id, target=target) for target in ("diagnosis", "status")])
    app.run()
    assert not app.exception
    assert app.selectbox(key="chosen_target").value == "status"
    assert "the last run on this table predicts it" in texts(app.caption)
    assert not button(app, "Next: choose a model").disabled


def test_the_full_list_also_answers_and_new_run_asks_the_same(app, home):
    add_dataset(home, NEAR, "patients.csv")
    app.run()
    app.switch_page("views/new_run/page.py").run()
    assert "What do you want to predict?" in texts(app.markdown)
    assert "Choose the column to predict first." in texts(app.info)
    app.selectbox(key="chosen_target").set_value("age").run()
    assert not app.exception
    assert "What do you want to predict?" not in texts(app.markdown)


def test_another_table_with_the_question_starts_without_a_choice(app, home):
    other = add_dataset(home, NEAR, "patients.csv")
    first = add_dataset(home, CSV, "people.csv")
    app.query_params["table"] = first.id
    app.run()
    assert app.selectbox(key="chosen_target").value == "bought"
    app.selectbox(key="chosen_target").set_value("age").run()
    app.selectbox(key="chosen_table").set_value(other.id).run()
    assert app.selectbox(key="chosen_target").value == ""


class NeverEnding:
    """Stands in for reading a file that takes hours."""

    cancelled = 0

    def progress(self):
        return "Looking at columns: 400 of 5,000"

    def ended(self):
        if get_script_run_ctx(suppress_warning=True) is None:  # the thread that detects a closed tab
            return True
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
    assert "Reading was cancelled. Not added: long.csv." in texts(app.info).replace("\\", "")
    assert not list((home / "datasets").glob("*"))
    upload(app, ("long.csv", CSV))
    assert names(home) == ["long.csv"]


STOPS = {
    "one class": (b"n,y\n" + b"1,a\n2,a\n" * 20, "is 'a' in every row, so there is nothing to learn"),
    "nothing to predict from": (
        b"note,y\n"
        + b"".join(b"note %d of somebody who wrote at length,%s\n" % (i, b"ab"[i % 2 : i % 2 + 1]) for i in range(40)),
        "no columns of numbers, dates or categories",
    ),
    "too few rows": (b"n,y\n1,a\n2,a\n3,a\n4,b\n5,b\n6,b\n", ""),
    "rare classes": (b"n,y\n1,a\n2,a\n3,a\n4,b\n5,c\n6,d\n7,e\n8,e\n", "has fewer than two classes with 3 rows"),
}


@pytest.mark.parametrize("what", STOPS)
def test_problems_that_stop_training_disable_next_and_launch(app, home, what):
    data, reason = STOPS[what]
    add_dataset(home, data, "t.csv")
    go(app, "data")
    app.selectbox(key="chosen_target").set_value("y").run()
    assert not app.exception
    following = button(app, "Next: choose a model")
    assert following.disabled == bool(reason)
    assert (following.proto.type == "primary") == (not reason)
    assert texts(app.error).replace("\\", "").count(reason) == 1 or not reason
    app.switch_page("views/new_run/page.py").run()
    assert not app.exception
    (launch,) = [found for found in app.button if found.label.startswith("Launch")]
    assert (launch.disabled, launch.proto.type) == ((True, "secondary") if reason else (False, "primary"))
    if reason:
        assert texts(app.error).replace("\\", "").count(reason) == 1
        assert "Cannot start" in texts(app.markdown)


def test_readings_of_one_file_are_distinguished_by_their_differences(app, home):
    data = b"id,age,code\n" + b"".join(b"%d,%d,%d\n" % (i, i % 7, i % 3) for i in range(40))
    add_dataset(home, data, "t.csv")
    add_dataset(home, data, "t.csv", ReadingChoices(kinds=(("id", "ignored"), ("code", "category"))))
    add_dataset(home, data + b"9,9,9\n", "other.csv")
    go(app, "data")
    titles = sorted(title.rsplit(" · ", 1)[0] for title in app.selectbox(key="chosen_table").options)
    assert titles == [
        "other.csv · 41 rows, 3 columns",
        "t.csv · as detected · 40 rows, 3 columns",
        "t.csv · without id, code as category · 40 rows, 3 columns",
    ]


def test_the_upload_box_closes_after_a_table_was_added(app, home):
    add_sample(home, "iris")
    go(app, "data")
    assert app.file_uploader(key="upload_0")
    app.button(key="sample_wine").click().run()
    assert app.file_uploader(key="upload_1"), "a new one, closed as at first"
