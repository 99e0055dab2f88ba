"""``python -m dashboard``: starts the worker if it does not run, then serves the pages, on this machine only unless told otherwise.

In: the command line. Out: a line or two with the address, then a server until Ctrl-C.
"""

import argparse
import errno
import os
import signal
import socket
import sys
import threading
import webbrowser
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from dashboard.demo.workspace import demo_workspace
from tabtune_core.access import (
    BASE_VARIABLE,
    FETCH_VARIABLE,
    LOGIN_VARIABLE,
    LOOPBACK,
    SERVER_PATHS_VARIABLE,
    Access,
    checked_base,
    decide,
    listed_admins,
    typed_paths_are_open,
    unowned_is_open,
)
from tabtune_core.errors import SettingError, TabTuneError
from tabtune_core.execution.end_messages import checked_address
from tabtune_core.execution.executor import LOCAL, VARIABLE
from tabtune_core.execution.lock import ensure_worker, worker_of
from tabtune_core.execution.worker_flags import add_worker_flags, asked_by_environment, check_environment, chosen, named_home, tell_workers
from tabtune_core.execution.worker_watch import watched
from tabtune_core.shortage import check_limits, named
from tabtune_core.store.runs import RunStore, default_home
from tabtune_core.upstream import DISTRIBUTION, installed

USUAL_PORT, MOST_PORTS = 8501, 50
INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line as values."""
    parser = argparse.ArgumentParser(prog="tabtune-dashboard", description="LoRA Lab: explore LoRA trade-offs on your own tables.")
    parser.add_argument("--version", action="version", version=f"%(prog)s {installed(DISTRIBUTION) or '(not installed)'}")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--home", type=named_home, default=None, help="workspace folder (default: TABTUNE_HOME, else ~/.tabtune)")
    where.add_argument(
        "--demo",
        action="store_true",
        help="open a temporary workspace with a finished sweep and one that trains now; it is deleted at the end",
    )
    parser.add_argument("--port", type=_port, help=f"port to listen on (default: {USUAL_PORT}, or the next free one where that is in use)")
    parser.add_argument(
        "--address",
        default=LOOPBACK,
        help="host or IP address to listen on, 0.0.0.0 for all of this machine's. Wherever other machines can reach it, the server asks for"
        " a token that is part of the address it prints; set TABTUNE_TOKEN to choose it (default: 127.0.0.1, this machine only)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="another name by which browsers reach this server, for example that of a proxy; can be repeated",
    )
    parser.add_argument(
        "--base-url",
        default="",
        metavar="PATH",
        help="path below which a proxy shows this server, such as /lab/, whether or not it takes the path off (default: a name of its own)",
    )
    parser.add_argument(
        "--login",
        action="store_true",
        help="ask people to log in, in place of the token, with the OpenID Connect provider under [auth] in .streamlit/secrets.toml",
    )
    parser.add_argument(
        "--fetch-addresses",
        action="store_true",
        help="let people add tables (https://, hf://datasets/, openml:) and adapters (hf://) by address, which this machine then downloads;"
        " addresses of private networks are refused (default: files alone)",
    )
    parser.add_argument("--upload-limit-mb", type=_megabytes, default=1000, help="largest file to upload, in megabytes (default: 1000)")
    flags = parser.add_argument_group(
        "the worker that this program starts", f"One that runs already keeps its own. {VARIABLE} may hold all flags of a worker."
    )
    add_worker_flags(flags, address="--ray-address")
    parser.add_argument(
        "--notify",
        metavar="URL",
        help="address, such as a chat's webhook, to which the worker that this starts sends a small JSON document when a sweep has ended;"
        " a worker that runs already keeps its own (default: nothing is sent)",
    )
    parser.add_argument("--no-browser", action="store_true", help="do not open a browser")
    return parser.parse_args(arguments)


def _port(text: str) -> int:
    return _number(text, range(1, 2**16))


def _megabytes(text: str) -> int:
    return _number(text, range(1, 10**6))


def _number(text: str, admitted: range) -> int:
    if not text.isdecimal() or len(text) > len(str(admitted.stop)) or int(text) not in admitted:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from {admitted[0]} to {admitted[-1]:,}.")
    return int(text)


def free_port(address: str, asked: int | None) -> int:
    """The port that is asked for, or the first from USUAL_PORT on; refused if another program listens on it."""
    why = ""
    ports = range(USUAL_PORT, USUAL_PORT + MOST_PORTS) if asked is None else range(asked, asked + 1)
    for port in ports:
        with socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError as error:
                if error.errno == errno.EADDRNOTAVAIL:
                    raise SettingError(f"{address} is not an address of this machine; choose another with --address.") from error
                why = error.strerror or ""
                continue
            return port
    if asked is None:
        raise SettingError(f"No port is free between {ports[0]} and {ports[-1]}; choose another with --port.")
    raise SettingError(f"Port {asked} cannot be used ({why}). Choose another with --port, or leave --port out for the next free one.")


def sections_for_login() -> dict[str, object]:
    """The secrets of a server whose people log in; refused, with what to do, where that cannot work."""
    from streamlit import secrets
    from streamlit.auth_util import is_authlib_installed

    found = dict(secrets) if secrets.load_if_toml_exists() else {}
    if "auth" not in found:
        raise SettingError(
            "--login needs the section [auth] in .streamlit/secrets.toml, in this folder or your home folder. How to write it:"
            " https://docs.streamlit.io/develop/concepts/connections/authentication"
        )
    if not is_authlib_installed():
        raise SettingError("--login needs a package that is not installed. Run: pip install 'streamlit[auth]'")
    return found


def let_in(options: argparse.Namespace) -> Access:
    """Who may reach the server; refused where that cannot be."""
    login = sections_for_login() if options.login else None
    try:
        base = checked_base(options.base_url)
        if base and login is not None:
            raise SettingError("--login needs a name of its own, without --base-url: the provider sends people back to the root of a name.")
        access = replace(decide(options.address, options.allow_host, login=login), base=base)
        paths = login is not None and typed_paths_are_open(login)
        if login is not None:  # what the pages ask for is checked before the first one
            listed_admins(login)
            unowned_is_open(login)
    except ValueError as error:
        raise SettingError(str(error)) from error
    os.environ[BASE_VARIABLE] = base
    os.environ[LOGIN_VARIABLE] = "1" if access.login else ""
    os.environ[SERVER_PATHS_VARIABLE] = "1" if paths else ""
    return access


def greet(access: Access, urls: list[str], home: Path, *, demo: bool) -> None:
    """Says where the pages are and who may see them."""
    end = "deletes the demo" if demo else "ends the pages; runs go on"
    print(f"LoRA Lab is at {' and, on this machine, at '.join(urls)} (workspace {home}). Ctrl-C {end}.")
    if access.token:
        print("Whoever has this address with its token can use the server. The connection is not encrypted.")
    if access.login:
        who = f"those listed ({len(access.emails)})" if access.emails else "everybody whom the provider of [auth] lets in"
        print(f"Asks for a log-in and admits {who}. List them as emails = [...] under [tabtune] in secrets.toml.")
    if sys.stdout is not None:  # closed
        sys.stdout.flush()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serves until it is interrupted."""
    options = parse(arguments)
    try:
        with named():
            check_limits()
            if not options.demo:
                serve(options, Path(os.path.expanduser(options.home or default_home())).resolve())
                return
            for number in (signal.SIGTERM, signal.SIGHUP):  # so that the demo is deleted then, too
                signal.signal(number, lambda number, frame: sys.exit(128 + number))
            with demo_workspace() as home:
                serve(options, home)
    except TabTuneError as error:
        print(f"tabtune-dashboard: {error}", file=sys.stderr)
        raise SystemExit(2) from error


def serve(options: argparse.Namespace, home: Path) -> None:
    """The pages of one workspace, and a worker in it."""
    from dashboard.server.application import application, leave_out_late_parts

    leave_out_late_parts()
    sys.argv = [str(Path(__file__).with_name("app.py"))]  # Streamlit looks for .streamlit/config.toml beside this file
    access = let_in(options)
    port = free_port(access.address, options.port)
    os.environ["TABTUNE_HOME"] = str(home)
    os.environ[FETCH_VARIABLE] = "1" if options.fetch_addresses else ""
    check_environment()
    where = {"executor": options.executor, "address": options.ray_address, "gpu_share": options.gpu_share, "notify": options.notify}
    tell_workers(parallel=options.parallel, threads=options.threads, **where)
    choice, _ = chosen(asked_by_environment())  # here and at once, as the worker would end over it, with no more than a line in its log
    choice.check()
    if options.notify:
        checked_address(options.notify)
    with named(folder=home):
        store = RunStore(home)
        there = worker_of(home)
        ensure_worker(home, exit_when_idle=options.demo)

    later = options.parallel or options.threads or choice.executor != LOCAL
    if later and there is not None and not there.outdated:
        print(
            f"The worker of {home}, process {there.pid}, was there before: --parallel, --threads and --executor hold for the next one. To"
            " have that now, end the worker with 'loralab worker --stop', which leaves its runs alone, and start this program again."
        )
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
    try:
        with watched(store):
            application(access).run(config=config)
    except KeyboardInterrupt:  # raised once more by uvicorn, after an orderly end
        raise SystemExit(INTERRUPTED) from None


if __name__ == "__main__":
    main()
