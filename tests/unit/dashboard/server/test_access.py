"""Who may reach the server: only the health check answers without the token, and every upload has a limit."""

import ast
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from dashboard.server import application
from dashboard.server.application import SameOrigin
from dashboard.server.guard import TokenGuard
from tabtune_core.access import FEWEST_LETTERS, OWN_NAMES, Access, decide
from tabtune_core.errors import SettingError

ROOT = Path(__file__).parents[4]
TOKEN = "a-token-of-enough-letters"
SOCKET = "ws://lab:8501/_stcore/stream"
UPLOAD = "/_stcore/upload_file/session/file"
PATHS = ("/", "/live?run=1", "/static/js/index.js", f"/{application.PLOTLY_PATH}", "/media/a.csv", "/_stcore/metrics")


async def reached(request):
    return PlainTextResponse(f"reached {request.query_params}")


async def socket_reached(websocket):
    await websocket.accept()
    await websocket.send_text("reached")
    await websocket.close()


def client(*guards):
    routes = [
        Route("/{path:path}", reached, methods=["GET", "POST", "PUT", "DELETE"]),
        WebSocketRoute("/_stcore/stream", socket_reached),
    ]
    return TestClient(Starlette(routes=routes, middleware=list(guards)), base_url="http://lab:8501")


@pytest.fixture
def guarded():
    return client(Middleware(TokenGuard, token=TOKEN))


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("query", ["", "token=", "token=a-token-of-enough-letterz", "token=é"])
def test_nothing_answers_without_the_token(guarded, path, query):
    reply = guarded.get(f"{path}{'&' if '?' in path else '?'}{query}")
    assert reply.status_code == (403 if query else 401)
    assert "reached" not in reply.text
    assert "Token" in reply.text
    assert not reply.cookies


def test_an_upload_and_a_websocket_need_the_cookie_even_with_the_token(guarded):
    for method in ("PUT", "POST", "DELETE"):
        assert guarded.request(method, f"{UPLOAD}?token={TOKEN}", content=b"x").status_code == 403
    for headers in ({}, {"cookie": f"lora_lab_8501={TOKEN}"}, {"cookie": "lora_lab_8501=x"}):
        with pytest.raises(WebSocketDisconnect), guarded.websocket_connect(f"{SOCKET}?token={TOKEN}", headers=headers):
            pass


def test_the_token_opens_everything_and_is_removed_from_the_address(guarded):
    reply = guarded.get(f"/live?run=a%26b&token={TOKEN}", follow_redirects=False)
    assert (reply.status_code, reply.headers["location"]) == (303, "./live?run=a%26b")
    cookie = reply.headers["set-cookie"]
    assert {"HttpOnly", "SameSite=lax"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    assert [guarded.get(path).status_code for path in PATHS] == [200] * len(PATHS)
    assert guarded.put(UPLOAD, content=b"x").text.startswith("reached")
    with guarded.websocket_connect(SOCKET) as opened:
        assert opened.receive_text() == "reached"


def test_the_redirect_stays_on_this_server(guarded):
    reply = guarded.get(f"http://lab:8501//evil.example/?token={TOKEN}", follow_redirects=False)
    assert reply.headers["location"] == "./"


def test_a_token_of_any_characters_works_in_the_printed_address(monkeypatch):
    token = "ab+cd/ef==&x=1#y%41 z\N{EURO SIGN}"
    monkeypatch.setenv("TABTUNE_TOKEN", token)
    access = decide("127.0.0.1")
    (address,) = access.addresses(8501)
    browser = client(Middleware(TokenGuard, token=access.token))
    assert browser.get(address.removeprefix("http://127.0.0.1:8501")).status_code == 200
    assert parse_qs(urlsplit(address).query) == {"token": [token]}


def test_text_from_the_address_is_never_markup(guarded):
    assert "<script>" not in guarded.get('/?a="><script>').text


def test_every_answer_forbids_foreign_frames_and_pictures():
    guarded = client(Middleware(SameOrigin))
    for path in (*PATHS, "/none"):
        headers = guarded.get(path).headers
        assert "frame-ancestors 'self'" in headers["content-security-policy"]
        assert "img-src 'self'" in headers["content-security-policy"]
        assert headers["x-frame-options"] == "SAMEORIGIN"


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "http://lab:3000", "http://lab", "null", "http://[", "http://lab:8501.evil.example"],
)
def test_a_websocket_of_another_page_is_refused_before_streamlit_sees_it(origin):
    with (
        pytest.raises(WebSocketDisconnect),
        client(Middleware(SameOrigin)).websocket_connect(SOCKET, headers={"origin": origin}),
    ):
        pass


def test_a_websocket_of_the_page_itself_opens_and_the_health_check_is_open(guarded):
    for own in ({}, {"origin": "http://lab:8501"}, {"origin": "https://lab:8501"}):
        with client(Middleware(SameOrigin)).websocket_connect(SOCKET, headers={"host": "lab:8501", **own}) as opened:
            assert opened.receive_text() == "reached"
    assert guarded.get("/_stcore/health").status_code == 200


def test_a_token_is_made_or_taken_from_the_environment_if_other_machines_can_connect():
    access = decide("localhost", environment={})
    assert (access.token, set(access.names)) == (None, set(OWN_NAMES))
    assert "token" not in access.addresses(8501)[0]
    for address, more in (("0.0.0.0", ()), ("::", ()), ("127.0.0.1", ("lab.example",))):
        first, second = decide(address, more, environment={}), decide(address, more, environment={})
        assert len(first.token) >= 32
        assert first.token != second.token
        assert first.token not in repr(first)
        assert all(url.endswith(f":8501/?token={first.token}") for url in first.addresses(8501))
        assert {*OWN_NAMES, *more} <= set(first.names)
    environment = {"TABTUNE_TOKEN": TOKEN}
    assert decide("127.0.0.1", environment=environment).token == TOKEN
    assert environment == {}
    with pytest.raises(SettingError, match=f"at least {FEWEST_LETTERS}"):
        decide("127.0.0.1", environment={"TABTUNE_TOKEN": "short"})


def test_a_foreign_host_is_refused_before_the_token_is_checked():
    asked = TestClient(application.application(Access(token=TOKEN)), base_url="http://evil.example")
    assert asked.get(f"/?token={TOKEN}").status_code == 400


def test_every_uploader_has_a_limit():
    found = {}
    for path in sorted((ROOT / "dashboard").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(".file_uploader"):
                found[f"{path.name} {node.lineno}"] = {keyword.arg for keyword in node.keywords}
    assert {"uploads.py", "adapter_upload.py", "try_rows.py", "text_panel.py"} <= {name.split()[0] for name in found}
    assert [name for name, given in found.items() if "max_upload_size" not in given] == []
