"""The HTTP interface of served adapters: who may ask, what a request contains, and the response.

In: adapters by name, and who may reach the server. Out: a FastAPI application. An error tells the client in ``detail``
what to fix.
"""

import asyncio
import hmac
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import pandas as pd
import uvicorn
from fastapi import APIRouter, Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import JSONResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import ClientDisconnect

from tabtune_core.access import Access, bracketed
from tabtune_core.data.findings import LONGEST_SHOWN, listed, shorten
from tabtune_core.data.prediction_rows import NewRows, misfit, read_new_rows, unknown_column
from tabtune_core.errors import SettingError, TableError, TabTuneError
from tabtune_core.files.damaged import Damaged, refused_as
from tabtune_core.files.plain_values import read_json
from tabtune_core.serving.adapters import Served
from tabtune_core.shortage import shortage_of
from tabtune_core.upstream import DISTRIBUTION, installed

GRACE_SECONDS = 10
"""How long requests that have begun may take after the server was asked to end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of one request."""

    max_rows: int = 10_000
    max_bytes: int = 10_000_000


@dataclass(frozen=True, slots=True)
class Answer:
    """Predictions in the order of the rows, and what they were made with."""

    adapter: str
    model: str
    base_sha256: str
    context_sha256: str
    classes: list[str]
    """In the order of the probabilities; empty for regression."""
    predicted: list[str] | list[float]
    probabilities: list[list[float]] | None
    notes: list[str]
    """Which parts of the rows were not used, or are unknown to the adapter."""


async def _refused(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 422)


def application(adapters: Mapping[str, Served], access: Access, limits: Limits) -> FastAPI:
    """Builds the server of these adapters.

    If it asks for a token, only /health, /docs and /openapi.json answer without one; they name no column or adapter.
    """
    first, thread = next(iter(adapters.values())), ThreadPoolExecutor(1, thread_name_prefix="predict")
    app = FastAPIOffline(redoc_url=None, title="LoRA Lab, predictions", version=installed(DISTRIBUTION) or "0")
    hosts = [bracketed(name) for name in access.names]
    app.add_middleware(TrustedHostMiddleware, allowed_hosts=hosts, www_redirect=False)
    app.add_exception_handler(TableError, _refused)
    routes = APIRouter(dependencies=[Depends(_asks_for(access.token))] if access.token else [])

    @app.get("/health")
    async def health() -> dict[str, str]:
        """Says that the server answers."""
        return {"status": "ok"}

    @routes.get("/adapters")
    async def show_adapters() -> list[Mapping[str, Any]]:
        """Lists the adapters, with the columns that rows must have."""
        return [served.about for served in adapters.values()]

    @routes.post("/predict", openapi_extra={"requestBody": _body_of(None if access.token else first)})
    async def predict(
        request: Request, adapter: Annotated[str, Query(description="name of an adapter, the first by default")] = ""
    ) -> Answer:
        """Predicts rows: a list of objects, or CSV with a header line."""
        adapter = adapter or first.name
        if adapter not in adapters:
            known = listed(list(adapters), 20)
            raise HTTPException(404, f"There is no adapter {adapter[:200]!r}; this server has {known}.")
        served, kind = adapters[adapter], request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind not in _READERS:
            raise HTTPException(415, f"The content type is {kind[:200]!r}; it must be {' or '.join(_READERS)}.")
        content = await _content(request, limits.max_bytes)
        with _failures_in_words():
            rows = await run_in_threadpool(_READERS[kind], content, served, limits)
            predicted = await asyncio.get_running_loop().run_in_executor(thread, served.predict, rows.frame)
        return _answer(served, rows, predicted)

    app.include_router(routes)
    return app


def serve(app: FastAPI, access: Access, port: int, say: Callable[[str], None]) -> None:
    """Serves until Ctrl-C; raises SettingError if the address or port cannot be listened on."""
    family = socket.AF_INET6 if ":" in access.address else socket.AF_INET
    try:
        listening = socket.create_server((access.address, port), family=family)
    except OSError as error:
        why = f"Port {port} of {access.address} cannot be listened on ({error}). Choose another with --port."
        raise SettingError(why) from error
    with listening:
        address = f"http://{bracketed(access.address)}:{listening.getsockname()[1]}"
        say(f"Serving at {address} (a page to try it: /docs). Ctrl-C ends it.")
        if access.token:
            say(f"Requests must send the header 'Authorization: Bearer {access.token}'. Nothing is encrypted.")
        config = uvicorn.Config(app, log_level="warning", access_log=False, timeout_graceful_shutdown=GRACE_SECONDS)
        uvicorn.Server(config).run(sockets=[listening])


def _asks_for(token: str) -> Callable[..., None]:
    def known(given: Annotated[HTTPAuthorizationCredentials | None, Depends(HTTPBearer(auto_error=False))]) -> None:
        if given is None or not hmac.compare_digest(given.credentials.encode(), token.encode()):
            why = "This server asks for a token" if given is None else "That is not the token of this server"
            send = f"{why}: send the header 'Authorization: Bearer TOKEN'."
            raise HTTPException(401, send, {"WWW-Authenticate": "Bearer"})

    return known


@contextmanager
def _failures_in_words() -> Iterator[None]:
    """Turns an error that is not the client's into 503 if the machine lacks something, else 500, and prints it."""
    try:
        yield
    except (HTTPException, TableError):
        raise
    except Exception as error:
        lacking, unknown = shortage_of(error, "The rows were not predicted"), not isinstance(error, TabTuneError)
        unexpected = f"Something unexpected happened ({type(error).__name__}: {error}). The server printed the trace."
        text = str(lacking or (unexpected if unknown else error))
        if lacking and lacking.lack == "memory":
            text += " If this goes on, restart the server."
        logging.getLogger(__name__).error(text, exc_info=error if unknown and not lacking else None)
        raise HTTPException(503 if lacking else 500, text) from error


async def _content(request: Request, most: int) -> bytes:
    """Reads the body, up to ``most`` bytes."""
    content = bytearray()
    try:
        async for part in request.stream():
            content += part
            if len(content) > most:
                large = f"The request has more than {most / 1e6:,.1f} MB, the limit of this server"
                raise HTTPException(413, f"{large}. Send fewer rows at once.")
    except ClientDisconnect as error:  # nobody gets the answer
        raise HTTPException(499, "The client has disconnected.") from error
    return bytes(content)


def _check_rows(rows: int, limits: Limits) -> None:
    if rows > limits.max_rows:
        many = f"The request has {rows:,} rows; at most {limits.max_rows:,} are predicted at once"
        raise HTTPException(413, f"{many}. Send fewer.")
    if not rows:
        raise TableError("The request has no row. Send at least one.")


def _of_json(content: bytes, served: Served, limits: Limits) -> NewRows:
    """Reads rows from objects: each must have all feature columns, and no column that the table did not have."""
    with refused_as(TableError, "The rows cannot be read"):
        rows = read_json(content)
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Damaged('it is not a list of objects, such as [{"age": 30}]')
    _check_rows(len(rows), limits)
    facts = served.adapted.facts
    needed, kinds = facts.features, facts.kinds
    for place, row in enumerate(rows, 1):
        if missing := [name for name in needed if name not in row]:
            raise TableError(f"Row {place:,} lacks {listed(missing)}. Send null for an unknown value.")
        for name, value in row.items():
            if name not in kinds:
                raise TableError(f"Row {place:,}: {unknown_column(name, kinds)}")
            if isinstance(value, list | dict):
                raise TableError(f"Row {place:,}: {misfit(name, 'several values', 'one')}")
    frame = pd.DataFrame({name: pd.Series([row[name] for row in rows], dtype=object) for name in needed})
    frame, encoder = served.adapted.as_read(frame), served.shown.context.encoder
    for name, lost, what in encoder.misfits(frame):
        raise TableError(misfit(name, repr(shorten(lost[0], LONGEST_SHOWN)), what))
    return NewRows(frame, tuple(encoder.unread(frame)))


def _of_csv(content: bytes, served: Served, limits: Limits) -> NewRows:
    """Reads rows from CSV in the same way as the adapter's table was read."""
    rows = read_new_rows(content, served.adapted.facts.read_as, limit_bytes=limits.max_bytes, strict=True)
    _check_rows(len(rows.frame), limits)
    return NewRows(rows.frame, (*rows.notes, *served.shown.context.encoder.unread(rows.frame)))


_READERS: dict[str, Callable[[bytes, Served, Limits], NewRows]] = {"application/json": _of_json, "text/csv": _of_csv}


def _body_of(served: Served | None) -> dict[str, Any]:
    """Describes the body of a request, with a row of ``served`` as its example (None: without one)."""
    examples = {"number": 1.5, "boolean": True, "date": "2024-05-17", "datetime": "2024-05-17 08:30", "time": "08:30"}
    rows: dict[str, Any] = {"schema": {"type": "array", "items": {"type": "object"}}}
    if served is not None:
        rows["example"] = [{name: examples.get(kind, "text") for name, kind in served.about["columns"].items()}]
    return {"required": True, "content": {"application/json": rows, "text/csv": {"schema": {"type": "string"}}}}


def _answer(served: Served, rows: NewRows, predicted: "np.typing.NDArray[np.float64]") -> Answer:
    about = {name: served.about[name] for name in ("adapter", "model", "base_sha256", "context_sha256", "classes")}
    if not about["classes"]:
        return Answer(**about, predicted=predicted.tolist(), probabilities=None, notes=list(rows.notes))
    labels = np.array(about["classes"], dtype=object)[predicted.argmax(axis=1)].tolist()
    return Answer(**about, predicted=labels, probabilities=predicted.tolist(), notes=list(rows.notes))
