"""A table can come from every kind of source, and an unavailable source is refused in a sentence."""

import gzip
import json
import shutil
import socket
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pandas as pd
import pytest
import sklearn.datasets

from tabtune_core.data import sources
from tabtune_core.data.datasets import add_source, load_frame
from tabtune_core.data.findings import ReadingChoices
from tabtune_core.data.reading_process import ReadingProcess
from tabtune_core.data.sources import web
from tabtune_core.data.table import Table
from tabtune_core.data.target import propose_target
from tabtune_core.errors import TableError

FRAME = pd.DataFrame({"size": [float(place) / 2 for place in range(30)], "kind": ["red", "green", "blue"] * 10})
KEPT = Path(sklearn.datasets.__file__).parent / "tests" / "data" / "openml" / "id_61"
"""OpenML responses that scikit-learn ships for its own tests."""
LIMIT = 100_000


@pytest.fixture(scope="module")
def server():
    """A server whose answer depends on the path; it records the requests."""

    class Answers(BaseHTTPRequestHandler):
        def do_GET(self):
            path, _, query = self.path.partition("?")
            asked.append((path, self.headers.get("Authorization")))
            if path.startswith("/to"):
                self.send_response(302)
                self.send_header("Location", query)
                self.end_headers()
            elif path.endswith(".parquet"):
                self.answer(FRAME.to_parquet(index=False))
            elif path == "/endless":
                self.send_response(200)
                self.end_headers()
                for _ in range(1000):
                    try:
                        self.wfile.write(b"x" * 10_000)
                    except OSError:
                        break
            elif path == "/short":
                self.answer(b"a,b\n1,2\n", length=5000)
            else:
                self.send_error(404)

        def answer(self, content, length=None):
            self.send_response(200)
            self.send_header("Content-Length", str(length or len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            pass

    asked = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        http.asked, http.address = asked, f"http://127.0.0.1:{http.server_port}"
        yield http
        http.shutdown()


@pytest.fixture
def openml(tmp_path, monkeypatch):
    """A cache of scikit-learn with one table in it."""
    home = tmp_path / "scikit_learn_data"
    data = home / "openml" / "openml.org"
    info = json.loads(gzip.decompress((KEPT / "api-v1-jd-61.json.gz").read_bytes()))
    arff = info["data_set_description"]["url"].split("/", 3)[3]
    kept = {"jd-61.json": "data/61", "jdf-61.json": "data/features/61", "jdq-61.json": "data/qualities/61"}
    for name, path in {
        **{f"api-v1-{one}": f"api/v1/json/{path}" for one, path in kept.items()},
        "data-v1-dl-61.arff": arff,
    }.items():
        (data / f"{path}.gz").parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(KEPT / f"{name}.gz", data / f"{path}.gz")
    shutil.copy(data / f"{arff}.gz", data / "data/v1/download/61.gz")  # the name in scikit-learn 1.6
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(home))


@pytest.fixture
def hub(server, monkeypatch):
    monkeypatch.setattr("huggingface_hub.hf_hub_url", partial(huggingface_hub.hf_hub_url, endpoint=server.address))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_machine")


def test_every_source_gives_the_same_table(server, hub, tmp_path):
    asked = {
        f"{server.address}/a/table.parquet?token=s3cret": "table.parquet",
        f"{server.address}/to?{server.address}/b.parquet": "to",
        "hf://datasets/owner/name@v1/data/train.parquet": "train.parquet",
    }
    for address, name in asked.items():
        kept = add_source(tmp_path / name, address, limit_bytes=LIMIT)
        pd.testing.assert_frame_equal(load_frame(tmp_path / name, kept.id), FRAME, check_dtype=False)
        assert kept.name == name
        assert kept.words() == [address.replace("s3cret", "...")]
    assert ("/datasets/owner/name/resolve/v1/data/train.parquet", "Bearer hf_of_this_machine") in server.asked


def test_a_table_of_openml_brings_its_target(openml, tmp_path):
    kept = add_source(tmp_path / "home", "openml:61")
    frame = load_frame(tmp_path / "home", kept.id)
    assert (kept.name, kept.origin, frame.shape) == ("iris (openml 61)", ("openml:61",), (150, 5))
    table = Table(frame, kept.columns, kept.findings, kept.questions, kept.reading)
    assert propose_target(table, kept.name, kept.target).column == "class"


def test_a_token_is_sent_only_to_its_own_host(server, hub, tmp_path):
    other = server.address.replace("127.0.0.1", "localhost")
    how = {"limit_bytes": LIMIT, "tell": sources.untold, "guarded": False, "token": "mine"}
    web.download(f"{server.address}/to-other?{other}/c.parquet", tmp_path / "c", **how)
    assert server.asked[-2:] == [("/to-other", "Bearer mine"), ("/c.parquet", None)]


def bad(server):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        closed = free.getsockname()[1]
    return {
        "too much": (f"{server.address}/endless", "more than 100,000 bytes"),
        "not there": (f"{server.address}/nothing", "answered 404"),
        "broken off": (f"{server.address}/short", "stopped after 8 of 5,000 bytes"),
        "nobody listens": (f"http://127.0.0.1:{closed}/a.csv", "could not be reached"),
        "a name that does not exist": ("https://nowhere.invalid/a.csv", "could not be reached"),
        "a file through a redirect": (f"{server.address}/to?file:///etc/hostname", "answered 302"),
        "not a file of a data set": ("hf://owner/name", "hf://datasets/OWNER/NAME/FILE"),
        "not a number of openml": ("openml:iris", "Write its number"),
        "not a name on the Hub": ("hf://datasets/-a/b/f.csv", "hf://datasets/OWNER/NAME/FILE"),
    }


def test_an_unavailable_source_is_refused_in_a_sentence(server, tmp_path):
    for name, (address, says) in bad(server).items():
        with pytest.raises(TableError) as refused:
            add_source(tmp_path / "home", address, limit_bytes=LIMIT)
        assert says in str(refused.value), name
        assert "\n" not in str(refused.value), name
    assert [one.name for one in (tmp_path / "home" / "datasets").iterdir()] == []


@pytest.mark.parametrize(
    "host",
    [
        *("127.0.0.1", "localhost", "[::1]", "10.1.2.3", "169.254.169.254", "[::ffff:127.0.0.1]"),
        *("0.0.0.0", "2130706433", "[64:ff9b::7f00:1]"),
    ],
)
def test_a_page_reaches_no_private_address(host, tmp_path):
    with pytest.raises(TableError, match="private network|could not be reached"):
        sources.fetch(f"http://{host}:9/a.csv", tmp_path, limit_bytes=LIMIT, guarded=True)


def test_a_page_is_not_led_to_a_private_address_by_a_redirect(server, tmp_path, monkeypatch):
    """The first host counts as public here; it redirects to a name of this machine."""
    looked_up = []
    monkeypatch.setattr(web, "_is_this_machine", lambda connected: False)
    monkeypatch.setattr(web, "_is_public", lambda address: looked_up.append(address) or len(looked_up) == 1)
    before = len(server.asked)
    with pytest.raises(TableError, match="localhost is an address of a private network"):
        other = server.address.replace("127.0.0.1", "localhost")
        sources.fetch(f"{server.address}/to?{other}/a.parquet", tmp_path, limit_bytes=LIMIT, guarded=True)
    assert [path for path, _ in server.asked[before:]] == ["/to"]


def test_a_page_does_not_reach_this_machine_by_its_public_address(server, tmp_path, monkeypatch):
    monkeypatch.setattr(web, "_is_public", lambda address: True)
    before = len(server.asked)
    with pytest.raises(TableError, match="of this machine; nothing is fetched there"):
        sources.fetch(f"{server.address}/a.parquet", tmp_path, limit_bytes=LIMIT, guarded=True)
    assert len(server.asked) == before


@pytest.mark.parametrize("words", ["query:select 1", "/etc/hostname", "file:///etc/hostname", "http://127.0.0.1:9/a"])
def test_the_process_of_a_page_fetches_only_from_public_addresses(words, tmp_path):
    reading = ReadingProcess(tmp_path, words, words, ReadingChoices(), limit_bytes=LIMIT)
    with pytest.raises(TableError, match="is not an address|private network"):
        reading.result()
