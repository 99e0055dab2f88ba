"""Starts the worker if it is not running, then serves the pages, by default only on this machine, until Ctrl-C."""

import argparse
import errno
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from pathlib import Path

from dashboard.demo.workspace import demo_workspace
from tabtune_core.access import FETCH_VARIABLE, LOOPBACK, Access, decide
from tabtune_core.errors import SettingError, TabTuneError
from tabtune_core.execution.lock import ensure_worker, watched
from tabtune_core.execution.worker_flags import check_environment, named_home, number_within
from tabtune_core.shortage import named, raise_file_limit
from tabtune_core.store.runs import RunStore, default_home
from tabtune_core.upstream import DISTRIBUTION, installed
from tabtune_core.wording import print_what_the_encoding_lacks

USUAL_PORT, MOST_PORTS = 8501, 50
INTERRUPTED = 130
"""Exit status after Ctrl-C, by shell convention."""

_ADDRESS = (
    "host or IP address to listen on; 0.0.0.0 is all addresses of this machine. If other machines can reach it, the "
    "server asks for a token, which is part of the address that it prints; set TABTUNE_TOKEN to choose it (default: "
    "127.0.0.1, this machine only)"
)
_FETCH = (
    "let people add tables (https://, hf://datasets/, openml:) and adapters (hf://) by address, which this machine "
    "then downloads; addresses of private networks are refused (default: only files)"
)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    about = "LoRA Lab: explore LoRA trade-offs on your own tables."
    parser = argparse.ArgumentParser(prog="tabtune-dashboard", description=about)
    version = f"%(prog)s {installed(DISTRIBUTION) or '(not installed)'}"
    parser.add_argument("--version", action="version", version=version)
    where = parser.add_mutually_exclusive_group()
    help = "workspace folder (default: TABTUNE_HOME, else ~/.tabtune)"
    where.add_argument("--home", type=named_home, default=None, help=help)
    help = "open a temporary workspace with a finished sweep and one in progress; it is deleted at the end"
    where.add_argument("--demo", action="store_true", help=help)
    help = f"port to listen on (default: {USUAL_PORT}, or the next free one)"
    parser.add_argument("--port", type=number_within(1, 2**16 - 1), help=help)
    parser.add_argument("--address", default=LOOPBACK, help=_ADDRESS)
    help = "another host name by which browsers reach this server, for example that of a proxy; can be repeated"
    parser.add_argument("--allow-host", action="append", default=[], metavar="NAME", help=help)
    parser.add_argument("--fetch-addresses", action="store_true", help=_FETCH)
    help = "largest file to upload, in megabytes (default: 1000)"
    parser.add_argument("--upload-limit-mb", type=number_within(1, 10**6), default=1000, help=help)
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    return parser.parse_args(arguments)


def free_port(address: str, asked: int | None) -> int:
    """Returns the port ``asked`` for, or the first free one; raises SettingError if there is none."""
    why = ""
    ports = range(USUAL_PORT, USUAL_PORT + MOST_PORTS) if asked is None else range(asked, asked + 1)
    for port in ports:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    other = f"{address} is not an address of this machine; choose another with --address."
                    raise SettingError(other) from error
                why = error.strerror or ""
                continue
            return port
    if asked is None:
        raise SettingError(f"No port is free between {ports[0]} and {ports[-1]}; choose another with --port.")
    other = "Choose another with --port, or leave --port out for the next free one."
    raise SettingError(f"Port {asked} cannot be used ({why}). {other}")


def greet(access: Access, urls: list[str], home: Path, *, demo: bool) -> None:
    """Prints where the pages are and who may see them."""
    end = "deletes the demo" if demo else "stops the dashboard; runs continue"
    print(f"LoRA Lab is at {' and, on this machine, at '.join(urls)} (workspace {home}). Ctrl-C {end}.")
    if access.token:
        print("Anyone who has this address with its token can use the server. The connection is not encrypted.")
    if sys.stdout is not None:  # closed
        sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until interrupted."""
    print_what_the_encoding_lacks()
    options = parse(arguments)
    try:
        with named():
            raise_file_limit()
            # so that the demo is deleted, and an idle worker ends, after these signals, too
            signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
            if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup
                # uvicorn knows only this one
                signal.signal(signal.SIGHUP, lambda *_: signal.raise_signal(signal.SIGTERM))
            if not options.demo:
                serve(options, Path(os.path.expanduser(options.home or default_home())).resolve())
                return
            with demo_workspace() as home:
                serve(options, home)
    except TabTuneError as error:
        print(f"tabtune-dashboard: {error}", file=sys.stderr)
        raise SystemExit(2) from error
    except KeyboardInterrupt:  # uvicorn raises it again after an orderly shutdown
        raise SystemExit(INTERRUPTED) from None


def serve(options: argparse.Namespace, home: Path) -> None:
    """Serves the pages of the workspace ``home``, and starts its worker."""
    from dashboard.server.application import application, leave_out_late_parts

    leave_out_late_parts()
    sys.argv = [str(Path(__file__).with_name("app.py"))]  # Streamlit looks for .streamlit/config.toml beside this file
    access = decide(options.address, options.allow_host)
    port = free_port(access.address, options.port)
    os.environ["TABTUNE_HOME"] = str(home)
    os.environ[FETCH_VARIABLE] = "1" if options.fetch_addresses else ""
    check_environment().check()  # here, because the worker would only end with a line in its log
    with named(folder=home):
        store = RunStore(home)
        ensure_worker(home, exit_when_idle=options.demo)

    urls = access.addresses(port)
    greet(access, urls, home, demo=options.demo)
    if not options.no_browser:
        threading.Timer(1.5, webbrowser.open, (urls[-1],)).start()
    config = {
        "server.address": access.address,
        "server.port": port,
        "server.maxUploadSize": options.upload_limit_mb,
        "server.allowedHosts": list(access.names),
        "logger.hideWelcomeMessage": True,  # it names the address without its token
    }
    with watched(store):
        application(access).run(config=config)
