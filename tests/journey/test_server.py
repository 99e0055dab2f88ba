"""A server that others can reach opens only with the address that it prints, and any other only by its own names."""

import httpx

HANDSHAKE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "YWFhYWFhYWFhYWFhYWFhYQ==",
}


def websocket_status(client):
    """The status of a WebSocket handshake; its body is not awaited, since the connection stays open."""
    with client.stream("GET", "/_stcore/stream", headers=HANDSHAKE) as reply:
        return reply.status_code


def test_a_server_that_others_can_reach_opens_with_the_address_that_it_prints(serve, tmp_path):
    base = serve("--address", "0.0.0.0")
    stranger = httpx.Client(base_url=base, timeout=20)
    assert stranger.get("/").status_code == 401
    assert stranger.put("/_stcore/upload_file/session/file").status_code == 403
    assert websocket_status(stranger) == 403

    log = (tmp_path / "server.log").read_text()
    printed = next(word for word in log.split() if word.startswith(f"{base}/?token="))
    person = httpx.Client(base_url=base, timeout=20, follow_redirects=True)
    assert person.get(printed).status_code == 200
    assert "Streamlit" in person.get("/").text
    assert websocket_status(person) == 101
    assert person.get("/", headers={"Host": "evil.example"}).status_code == 400
    assert (tmp_path / "server.log").read_text().count("token=") == 2  # the two addresses, without a log of requests


def test_a_server_of_this_machine_answers_only_by_its_own_names(serve):
    base = serve()
    port = base.rpartition(":")[2]
    for host, status in ((f"localhost:{port}", 200), (f"[::1]:{port}", 200), (f"evil.example:{port}", 400)):
        with httpx.Client(base_url=base, headers={"Host": host}, timeout=20) as client:
            assert client.get("/").status_code == status
            assert (websocket_status(client) == 101) == (status == 200)
