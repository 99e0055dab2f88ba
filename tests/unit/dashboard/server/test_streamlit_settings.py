"""Streamlit's settings, under which neither it nor a browser contacts another machine."""

import tomllib
from pathlib import Path

import pytest
from starlette.applications import Starlette
from starlette.requests import HTTPConnection
from starlette.testclient import TestClient
from streamlit import net_util
from streamlit.web.server.starlette.starlette_websocket import _is_origin_allowed

import dashboard
from dashboard import start as program
from dashboard.server import application
from dashboard.server.application import _from_here
from tabtune_core.access import OWN_NAMES

CONFIG = Path(dashboard.__file__).with_name(".streamlit") / "config.toml"


def values(section):
    """Yields every setting of a section and of those below it."""
    for name, value in section.items():
        yield from values(value) if isinstance(value, dict) else [(name, value)]


def test_the_file_sends_no_statistics_offers_no_deployment_and_names_no_other_machine():
    told = tomllib.loads(CONFIG.read_text())
    assert told["browser"]["gatherUsageStats"] is False
    assert told["client"]["toolbarMode"] == "viewer"  # a Deploy button is for developers
    assert told["server"]["headless"] is True
    assert not {"enableCORS", "enableXsrfProtection", "corsAllowedOrigins"} & set(told["server"])
    named = dict(values(told))
    assert not {"font", "headingFont", "codeFont", "fontFaces"} & set(named)
    assert not [value for value in named.values() if "//" in str(value)]


def test_the_start_makes_streamlit_look_up_no_address(tmp_path, monkeypatch):
    given = {}

    class App:
        def run(self, config):
            given.update(config)

    for name in ("TABTUNE_HOME", "TABTUNE_WORKER"):
        monkeypatch.setenv(name, "")
    monkeypatch.setattr("sys.argv", ["dashboard"])
    monkeypatch.setattr(program, "ensure_worker", lambda home, **more: None)
    monkeypatch.setattr(application, "application", lambda access: App())
    program.main(["--home", str(tmp_path), "--no-browser"])
    assert given["logger.hideWelcomeMessage"] is True
    assert given["server.allowedHosts"] == list(OWN_NAMES)
    assert "global.developmentMode" not in given


@pytest.mark.parametrize("host", ["lab:8501", "lab", "localhost:8501", "[::1]:8501"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_streamlit_looks_up_no_address_with_the_passed_settings(monkeypatch, host, scheme):
    asked = []
    for name in ("get_internal_ip", "get_external_ip"):
        monkeypatch.setattr(net_util, name, lambda name=name: asked.append(name))
    own = f"{scheme}://{host}"
    for origin in (None, own, own.upper(), f"{own}.evil.example", "http://evil.example", "http://lab:3000", "null", ""):
        headers = [(b"host", host.encode())] + ([] if origin is None else [(b"origin", origin.encode())])
        if _from_here(HTTPConnection({"type": "websocket", "headers": headers})):
            assert _is_origin_allowed(origin, host)
    assert asked == []
    assert not _is_origin_allowed("http://evil.example", host)
    assert asked == ["get_internal_ip", "get_external_ip"]  # the look-ups that it must not do


@pytest.mark.parametrize(
    ("asked", "target"), [("/data", "./"), ("/data?table=a&target=b%26c", "./?table=a&target=b%26c")]
)
def test_the_first_page_can_be_opened_by_its_name(asked, target):
    client = TestClient(Starlette(routes=application.ROUTES), follow_redirects=False)
    assert client.get(asked).headers["location"] == target
