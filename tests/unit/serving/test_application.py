"""Served adapters: each request gets the answer that its adapter gives alone, or one sentence about what to correct."""

import errno
import json
import re
import shutil
import socket
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from made_run import made_run, mixed_csv
from starlette.testclient import TestClient

from tabtune_core import load_adapter, read_table
from tabtune_core.access import Access, decide
from tabtune_core.cli.main import main
from tabtune_core.errors import AdapterError
from tabtune_core.serving.adapters import open_adapters
from tabtune_core.serving.application import Limits, application
from tabtune_core.store.runs import RunStore

ROW = {"size": 0.5, "colour": "red", "seen": "2024-03-11", "weight": 41}
ROWS = [ROW, {**ROW, "size": None, "colour": "green"}, {**ROW, "size": -2, "seen": "2024-08-11"}]
LIMITS = Limits(max_rows=10, max_bytes=5_000)
HERE = Access(names=("testserver",))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    store = RunStore(folder / "home")
    more = {
        "few": {"rank": 2},
        "views": {"rank": 8, "seed": 1, "views": 2},
        "numbers": {"task": "regression"},
        "other": {"model": "tabdpt-mini"},
    }
    for name, settings in more.items():
        shutil.copy(store.run_dir(made_run(store, sweep=name, **settings)) / "adapter.zip", folder / f"{name}.zip")
    (folder / "data.csv").write_bytes(mixed_csv())
    return folder


def opened(folder, *names, **how):
    def table_of(model):
        return read_table(folder / "data.csv", model.reading).frame

    return open_adapters([folder / f"{name}.zip" for name in names], table_of, device="cpu", **how)


@pytest.fixture(scope="module")
def client(folder):
    with TestClient(application(opened(folder, "few", "views"), HERE, LIMITS)) as client:
        yield client


def alone(folder, name, rows):
    model = load_adapter(folder / f"{name}.zip", device="cpu")
    context = model.context(read_table(folder / "data.csv", model.reading).frame)
    return model._predict(pd.DataFrame(rows), context), context.sha256


def as_csv(rows):
    return pd.DataFrame(rows).to_csv(index=False).encode()


def ask(client, rows, adapter=None, kind="application/json"):
    content = rows if isinstance(rows, bytes) else as_csv(rows) if kind == "text/csv" else json.dumps(rows)
    return client.post(
        "/predict", params=adapter and {"adapter": adapter}, content=content, headers={"content-type": kind}
    )


@pytest.mark.parametrize("kind", ["application/json", "text/csv"])
def test_a_request_is_answered_by_the_adapter_that_it_names_and_told_which_it_was(folder, client, kind):
    told = {name: ask(client, ROWS, name, kind).json() for name in ("few", "views")}
    for name, answer in told.items():
        expected, context = alone(folder, name, ROWS)
        np.testing.assert_allclose(answer["probabilities"], expected, atol=2e-5)
        assert (answer["adapter"], answer["context_sha256"]) == (name, context)
        assert answer["predicted"] == [answer["classes"][k] for k in expected.argmax(axis=1)]
    assert np.abs(np.subtract(*(answer["probabilities"] for answer in told.values()))).max() > 1e-3, "mixed up"
    assert ask(client, ROWS, kind=kind).json() == told["few"], "without a name, the first adapter answers"


@pytest.mark.parametrize("merged", [False, True])
def test_a_served_regression_adapter_predicts_the_same_as_alone_merged_or_not(folder, merged):
    with TestClient(application(opened(folder, "numbers", merged=merged), HERE, LIMITS)) as client:
        rows = [{**row, "verdict": "keep it"} for row in ROWS]
        told = ask(client, [{name: value for name, value in row.items() if name != "weight"} for row in rows]).json()
    np.testing.assert_allclose(told["predicted"], alone(folder, "numbers", rows)[0], rtol=1e-4)
    assert (told["classes"], told["probabilities"]) == ([], None)


def test_a_missing_mark_of_the_table_is_missing_in_json_csv_and_python(tmp_path):
    store = RunStore(tmp_path / "home")
    (tmp_path / "data.csv").write_bytes(mixed_csv().replace(b"\n,red", b"\n-999,red").replace(b"blue", b"N.K."))
    run_id = made_run(store, data=(tmp_path / "data.csv").read_bytes(), marks=("-999", "n.k."))
    shutil.copy(store.run_dir(run_id) / "adapter.zip", tmp_path / "marked.zip")
    written = [(-999, "red"), ("-999", "red"), (0.5, " n.k. ")]
    rows = [{**ROW, "size": size, "colour": colour} for size, colour in written]
    missing = [{**ROW, "size": None}] * 2 + [{**ROW, "colour": None}]
    plain = [{**ROW, "size": -999.0}, {**ROW, "size": -998}]
    with TestClient(application(opened(tmp_path, "marked"), HERE, LIMITS)) as client:
        expected = ask(client, missing).json()
        assert ask(client, rows).json() == expected == ask(client, rows, kind="text/csv").json()
        number = ask(client, plain).json()
        assert number == ask(client, plain, kind="text/csv").json()
    np.testing.assert_allclose(alone(tmp_path, "marked", rows)[0], expected["probabilities"], atol=2e-5)
    for p_NK in (number["probabilities"], alone(tmp_path, "marked", plain)[0]):
        assert np.abs(np.subtract(expected["probabilities"][0], p_NK)).max(axis=1).min() > 1e-3


def test_concurrent_requests_are_never_mixed(client):
    lots = [
        [{**ROW, "size": float(size), "colour": colour}] * rows
        for size, colour, rows in ((-2, "red", 1), (0, "blue", 3), (2, "green", 2))
    ]
    asked = [(lot, name) for lot in lots for name in ("few", "views")] * 8
    expected = {(repr(lot), name): ask(client, lot, name).json() for lot, name in asked[:6]}
    with ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(lambda one: ask(client, *one).json(), asked))
    for (lot, name), answer in zip(asked, answers, strict=True):
        np.testing.assert_allclose(answer["probabilities"], expected[repr(lot), name]["probabilities"], atol=2e-5)
        assert answer["adapter"] == name


REFUSED = (
    ([{"size": 1, "colour": "red"}], 422, "Row 1 lacks 'weight', 'seen'. Send null for an unknown value."),
    ([ROW, {**ROW, "colours": 1}], 422, "Row 2: The table of the adapter has no column 'colours'. Did you mean"),
    ([{**ROW, "size": "abc"}], 422, "'size' holds 'abc', but must hold numbers below 1e100. Leave unknown values"),
    ([{**ROW, "seen": "soon"}], 422, "'seen' holds 'soon', but must hold dates."),
    ([{**ROW, "size": [1]}], 422, "Row 1: 'size' holds several values, but must hold one."),
    ([], 422, "The request has no row. Send at least one."),
    (b'[{"size":', 422, "The rows cannot be read: its JSON is malformed or truncated"),
    (b"{}", 422, "it is not a list of objects"),
    ([{}] * 11, 413, "The request has 11 rows; at most 10 are predicted at once. Send fewer."),
    (b" " * 5_001, 413, "The request has more than 0.0 MB"),
)
IN_CSV = (
    (as_csv([{"size": 1, "colour": "red"}]), 422, "The rows lack 2 of the 4 columns"),
    (as_csv([{**ROW, "colours": 1}]), 422, "The table of the adapter has no column 'colours'. Did you mean 'colour'?"),
    (as_csv([{**ROW, "size": "abc"}, ROW]), 422, "'size' holds other values, but must hold numbers below 1e100."),
    (as_csv([ROW, ROW]) + b"1,2,3,4,5,6,7\n", 422, "Rows are predicted in their order, so no row may"),
    (as_csv([ROW] * 11), 413, "The request has 11 rows; at most 10 are predicted at once. Send fewer."),
)


@pytest.mark.parametrize(
    ("kind", "content", "status", "told"),
    [
        *(("application/json", *case) for case in REFUSED),
        *(("text/csv", *case) for case in IN_CSV),
        ("image/png", b"x", 415, "it must be"),
    ],
)
def test_an_invalid_request_gets_one_sentence(client, kind, content, status, told):
    answer = ask(client, content, kind=kind)
    assert (answer.status_code, told in answer.json()["detail"]) == (status, True), answer.text


def test_a_too_large_body_without_a_length_is_refused_while_it_is_sent(client):
    answer = client.post("/predict", content=iter([b"[", b" " * 6_000]), headers={"content-type": "application/json"})
    assert answer.status_code == 413


def test_the_served_adapters_are_listed_before_an_upload(client):
    first, _ = client.get("/adapters").json()
    assert (first["columns"]["seen"], first["licence"]) == ("date", "Apache-2.0, commercial use allowed")
    assert ask(client, ROWS, "none").json()["detail"] == "There is no adapter 'none'; this server has 'few', 'views'."
    body = client.get("/openapi.json").json()["paths"]["/predict"]["post"]["requestBody"]["content"]
    assert ask(client, body["application/json"]["example"]).status_code == 200
    page = client.get("/docs").text
    loaded = re.findall(r'(?:href|src)="([^"]+)"', page)
    assert len(loaded) == 3 and all(client.get(path).status_code == 200 and path.startswith("/") for path in loaded)


def test_every_address_but_the_health_check_needs_the_token(folder):
    access = decide("0.0.0.0", ["testserver"], environment={"TABTUNE_TOKEN": "a-token-of-a-test"})
    with TestClient(application(opened(folder, "few"), access, LIMITS)) as client:
        assert client.get("/health").json() == {"status": "ok"}
        for given in ({}, {"authorization": "Bearer x"}):
            assert client.get("/adapters", headers=given).status_code == 401
        for path in ("/docs", "/openapi.json"):
            public = client.get(path)
            assert public.status_code == 200
            assert not [name for name in (*ROW, "few") if f'"{name}"' in public.text], "columns are the table's"
        assert "Authorization: Bearer TOKEN" in ask(client, ROWS).json()["detail"]
        client.headers["authorization"] = "Bearer a-token-of-a-test"
        assert ask(client, ROWS).status_code == 200
        assert client.get("/health", headers={"host": "elsewhere.example"}).status_code == 400


@pytest.mark.parametrize(
    ("error", "status", "said"),
    [
        (
            torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."),
            503,
            "The rows were not predicted. There was not enough memory. End other programs, or ask for less at once; "
            "then try again. If this goes on, restart the server.",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "/x"), 503, "The rows were not predicted. The disk of /x is"),
        (AdapterError("The adapter gives no finite number."), 500, "The adapter gives no finite number."),
        (KeyError("x"), 500, "Something unexpected happened (KeyError: 'x'). The server printed the trace."),
    ],
)
def test_a_failing_prediction_is_told_in_words(folder, caplog, error, status, said):
    def fails(x_NF):
        raise error

    served = {"few": replace(opened(folder, "few")["few"], ask=fails)}
    with TestClient(application(served, HERE, LIMITS)) as client:
        answer = ask(client, ROWS)
    assert (answer.status_code, answer.json()["detail"][: len(said)]) == (status, said)
    assert said in caplog.text and ("Traceback" in caplog.text) == ("trace" in said)


def test_an_adapter_with_another_base_is_refused_at_the_start(folder):
    with pytest.raises(
        AdapterError, match="other.zip is for classification on tabdpt-mini .* A server has one base: start another"
    ):
        opened(folder, "few", "other")


def test_the_command_serves_and_prints_its_address_and_what_is_missing(folder, monkeypatch, capsys):
    served = []
    monkeypatch.setattr("uvicorn.Server.run", lambda server, sockets: served.append(sockets[0].getsockname()))
    arguments = ["serve", str(folder / "few.zip"), "--context", str(folder / "data.csv")]
    arguments += ["--device", "cpu", "--home", str(folder / "none")]
    assert main([*arguments, "--port", "0"]) == 0
    assert f"Serving at http://127.0.0.1:{served[0][1]} " in (told := capsys.readouterr().err)
    assert "Apache-2.0, commercial use allowed" in told
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert main([*arguments, "--port", str(taken.getsockname()[1])]) == 2
    assert "Choose another with --port." in capsys.readouterr().err
    monkeypatch.setenv("TABTUNE_TOKEN", "short")
    assert main(arguments) == 2
    assert "could be guessed" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "tabtune_core.serving.application")
    assert main(arguments) == 2
    assert "Run: pip install 'tabtune-dashboard[serve]'" in capsys.readouterr().err
