"""A finished fit on disk: it reads back, and one that is damaged or was edited is refused in one line."""

import json

import pytest

from tabtune_core.api.leaderboard_file import Fit, read_fit, write_fit
from tabtune_core.errors import StoreError
from tabtune_core.events import RunFinished
from tabtune_core.settings import RunSettings

SETTINGS = RunSettings(dataset="d", target="y")
SCORES = {"log_loss": 0.5}
RESULT = RunFinished("finished", 1, 9, False, SCORES, SCORES, SCORES, SCORES, 1.0, 0.1, 1, 1, "resident", 4, 100, 9, train_wall_seconds=1.0)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "fit.json"
    write_fit(path, Fit(SETTINGS, RESULT, {"train": 5, "load": None}))
    return path


def test_a_fit_reads_back(path):
    assert read_fit(path, SETTINGS) == Fit(SETTINGS, RESULT, {"train": 5, "load": None})


def test_an_edited_score_is_noticed(path):
    path.write_text(path.read_text().replace("0.5", "0.1", 1))
    with pytest.raises(StoreError, match="it was changed after it was written"):
        read_fit(path, SETTINGS)


def test_a_fit_of_an_earlier_version_has_no_hash_and_opens(path):
    content = json.loads(path.read_text())
    del content["sha256"]
    path.write_text(json.dumps(content))
    assert read_fit(path, SETTINGS).result == RESULT


@pytest.mark.parametrize(
    "text",
    ["", "[" * 100_000, "[]", "3", '{"result": 3, "peaks": {}}', '{"result": {}, "peaks": {}}', '{"peaks": {}}', "\x00"],
)
def test_a_file_that_is_no_fit_is_refused_in_one_line(path, text):
    path.write_text(text)
    with pytest.raises(StoreError, match="is no finished fit of a leaderboard") as refused:
        read_fit(path, SETTINGS)
    assert "\n" not in str(refused.value)


def test_seconds_of_hundreds_of_digits_are_refused(path):
    content = json.loads(path.read_text())
    content["result"]["used_rows"] = 10**400
    path.write_text(json.dumps({"result": content["result"], "peaks": {}}))
    with pytest.raises(StoreError, match="whole number of 401 digits"):
        read_fit(path, SETTINGS)


def test_a_file_that_is_far_larger_than_a_fit_is_refused_unread(path, monkeypatch):
    path.write_bytes(b"[" * 5_000_000)
    monkeypatch.setattr("pathlib.Path.read_bytes", None)
    with pytest.raises(StoreError, match=r"5.0 MB, and 4.0 MB is the most"):
        read_fit(path, SETTINGS)


@pytest.mark.parametrize("peaks", [3, ["a"], {"train": "a"}])
def test_peaks_of_another_kind_are_refused(path, peaks):
    content = json.loads(path.read_text())
    path.write_text(json.dumps({"result": content["result"], "peaks": peaks}))
    with pytest.raises(StoreError, match="peaks is"):
        read_fit(path, SETTINGS)
