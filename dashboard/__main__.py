"""``python -m dashboard``: starts the worker if none runs, then serves the pages on this machine only.

In: the command line. Out: one line with the address, then a server until Ctrl-C.
"""

import argparse
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from tabtune_core.runs.store import RunStore, default_home
from tabtune_core.runs.worker_lock import ensure_worker

ADDRESS = "127.0.0.1"


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line as values."""
    parser = argparse.ArgumentParser(prog="tabtune-dashboard", description="LoRA Lab: explore LoRA trade-offs on your own tables.")
    parser.add_argument("--home", type=Path, default=None, help="workspace folder (default: TABTUNE_HOME, else ~/.tabtune)")
    parser.add_argument(
        "--port", type=int, default=8501, help="port on 127.0.0.1; the next free one is taken when it is in use (default: 8501)"
    )
    parser.add_argument("--upload-limit-mb", type=int, default=1000, help="largest file that can be uploaded, in megabytes (default: 1000)")
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    return parser.parse_args(arguments)


def free_port(wanted: int, tries: int = 50) -> int:
    """The first port from ``wanted`` on that nobody listens on."""
    for port in range(wanted, min(wanted + tries, 65536)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((ADDRESS, port))
            except OSError:
                continue
            return port
    raise SystemExit(f"No port is free between {wanted} and {wanted + tries - 1}; choose another with --port.")


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until it is interrupted."""
    options = parse(arguments)
    home = (options.home or default_home()).expanduser().resolve()
    os.environ["TABTUNE_HOME"] = str(home)
    os.environ["TABTUNE_UPLOAD_LIMIT_MB"] = str(options.upload_limit_mb)
    RunStore(home)  # says at once where a workspace cannot be written
    ensure_worker(home)

    port = free_port(options.port)
    url = f"http://{ADDRESS}:{port}"
    print(f"LoRA Lab is at {url} (workspace {home}). Ctrl-C ends the pages; runs go on.", flush=True)
    if not options.no_browser:
        threading.Timer(1.5, webbrowser.open, (url,)).start()

    from dashboard import server

    sys.argv = [server.__file__]  # Streamlit looks for .streamlit/config.toml beside this file
    server.app.run(
        config={
            "server.address": ADDRESS,
            "server.port": port,
            "server.maxUploadSize": options.upload_limit_mb,
            "server.allowedHosts": list(server.HOSTS),
        }
    )


if __name__ == "__main__":
    main()
