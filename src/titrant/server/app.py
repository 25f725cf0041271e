"""The HTTP application of a model: the one file that imports fastapi and uvicorn.

    GET /health     whether it is up
    GET /model      what it predicts, and what a row holds
    GET /metrics    counts and times, as Prometheus reads them
    POST /predict   {"rows": [{...}]} → {"predictions": [...], "probabilities": [...], "notes": [...]}

Errors are JSON too, {"error": message}: 413 for a body that is too large, 422 for one that the model cannot read.
"""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import polars as pl
from torch import Tensor

from titrant.data.forecast import ForecastSchema
from titrant.data.images import ImageSchema
from titrant.data.schema import Schema
from titrant.data.series import Stepped
from titrant.data.text import TextSchema
from titrant.errors import DataError, OutputError
from titrant.predictor import Predictor
from titrant.server.batch import Batcher
from titrant.server.rows import IMAGE, SERIES, parsed, readable
from titrant.texts import say

BYTES, ROWS = 16 << 20, 10_000
"""Bytes of a body and rows of a request, at most, by default."""

_log = logging.getLogger("titrant.server")


class TooLargeError(Exception):
    """A body has more bytes than are allowed."""


class Service:
    """What stands behind the addresses.

    Args:
        predictor: the model.
        bytes_: of a body, at most.
        rows: of a request, at most.
    """

    def __init__(self, predictor: Predictor, bytes_: int = BYTES, rows: int = ROWS) -> None:
        self.predictor = predictor
        self.bytes = bytes_
        self.rows = rows
        self.batcher = Batcher(predictor)
        self.started = time.monotonic()
        self.requests: Counter[int] = Counter()
        self.predicted = 0
        self.seconds = 0.0

    async def answer(self, body: bytes) -> dict[str, Any]:
        """Predictions for the rows of a body.

        Raises:
            DataError: it cannot be read.
        """
        notes: list[str] = []
        schema = self.predictor.schema
        rows = parsed(body, self.rows)
        if isinstance(schema, ForecastSchema):  # rows are steps, whose newest windows are looked for
            table = await asyncio.to_thread(lambda: self.predictor.table(readable(schema, rows), notes))
            found: dict[str, Any] = {"forecast": table.to_dicts()}
        else:
            inputs, names = await asyncio.to_thread(lambda: schema.rows(readable(schema, rows), notes))
            if isinstance(schema, ImageSchema) and len(inputs[0]) < len(rows):
                raise DataError(say("{count} of the pictures cannot be read.", count=len(rows) - len(inputs[0])))
            found = self._named(await self.batcher.predicted(inputs), names)
        self.predicted += len(rows)
        return {**found, "notes": notes}

    def _named(self, predicted: Tensor, names: pl.Series | None) -> dict[str, Any]:
        table = self.predictor.answers(predicted)
        found: dict[str, Any] = {"predictions": table["prediction"].to_list()}
        if self.predictor.classifies:
            classes = [str(label) for label in self.predictor.schema.classes]
            found["probabilities"] = table.drop("prediction").rename(lambda name: name.removeprefix("probability_")).to_dicts()
            assert all(list(row) == classes for row in found["probabilities"][:1])
        if names is not None and isinstance(self.predictor.schema, Stepped) and self.predictor.schema.by is not None:
            found["names"] = names.to_list()
        return found

    def about(self) -> dict[str, Any]:
        """What the model predicts, and what a row holds."""
        schema = self.predictor.schema
        found: dict[str, Any] = {"task": schema.task, "target": schema.target}
        if self.predictor.classifies:
            found["classes"] = [str(label) for label in schema.classes]
        match schema:
            case Schema():
                found["columns"] = {column.name: column.kind for column in schema.columns}
            case ImageSchema():
                found["columns"] = {IMAGE: say("a picture file in base64")}
            case TextSchema():
                found["columns"] = {schema.column: say("text")}
            case ForecastSchema():
                found["columns"] = {name: say("number") for name in schema.channels}
                found["horizon"] = schema.horizon
            case Stepped(by=None):
                found["columns"] = {SERIES: say("numbers or null, a list for each channel: {names}", names=schema.channels)}
            case Stepped():
                found["columns"] = {name: say("number") for name in schema.channels}
        if isinstance(schema, Stepped):
            found |= {"id": schema.by, "time": schema.time}
        return found | {"limits": {"bytes": self.bytes, "rows": self.rows}}

    def metrics(self) -> str:
        """Counts and times in the text format of Prometheus."""
        lines = ["# TYPE titrant_requests_total counter"]
        lines += [f'titrant_requests_total{{status="{status}"}} {count}' for status, count in sorted(self.requests.items())]
        for name, kind, value in (
            ("rows_predicted_total", "counter", self.predicted),
            ("batches_total", "counter", self.batcher.batches),
            ("request_seconds_total", "counter", self.seconds),
            ("up_seconds", "gauge", time.monotonic() - self.started),
        ):
            lines += [f"# TYPE titrant_{name} {kind}", f"titrant_{name} {value:g}"]
        return "\n".join(lines) + "\n"


def application(predictor: Predictor, bytes_: int = BYTES, rows: int = ROWS) -> Any:
    """The application of a model.

    Args:
        predictor: the model.
        bytes_: of a body, at most.
        rows: of a request, at most.

    Raises:
        OutputError: fastapi is missing.
    """
    fastapi = _package("fastapi")
    from fastapi.responses import JSONResponse, PlainTextResponse
    from starlette.requests import ClientDisconnect, Request

    service = Service(predictor, bytes_, rows)

    @asynccontextmanager
    async def working(_: Any) -> AsyncIterator[None]:
        task = asyncio.create_task(service.batcher.run())
        yield
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task

    # The interactive pages load scripts from elsewhere, so there are none.
    app = fastapi.FastAPI(title="titrant", lifespan=working, docs_url=None, redoc_url=None)

    def said(status: int, message: str) -> Any:
        return JSONResponse({"error": message}, status)

    async def counted(request: Request, call: Any) -> Any:
        begun = time.monotonic()
        response = await call(request)
        service.requests[response.status_code] += 1
        service.seconds += time.monotonic() - begun
        return response

    async def unknown(request: Request, _: Exception) -> Any:
        return said(404, say("There is no {path}. Addresses: /health, /model, /metrics, /predict.", path=request.url.path))

    async def refused(request: Request, _: Exception) -> Any:
        return said(405, say("{path} does not take {method}.", path=request.url.path, method=request.method))

    async def health() -> Any:
        return {"status": "ok"}

    async def model() -> Any:
        return service.about()

    async def metrics() -> Any:
        return PlainTextResponse(service.metrics())

    async def predict(request: Request) -> Any:
        try:
            body = await _body(request, service.bytes)
            return await service.answer(body)
        except TooLargeError:
            return said(413, say("The body has more than {most:,} bytes. Send fewer rows at a time.", most=service.bytes))
        except ClientDisconnect:
            return said(400, say("The body ended early."))
        except DataError as error:
            return said(422, str(error))
        except Exception:
            _log.exception("a request failed")
            return said(500, say("The model failed on these rows; the server's log says why."))

    app.middleware("http")(counted)
    app.add_exception_handler(404, unknown)
    app.add_exception_handler(405, refused)
    for path, answer in (("/health", health), ("/model", model), ("/metrics", metrics)):
        app.add_api_route(path, answer, methods=["GET"])
    app.add_api_route("/predict", predict, methods=["POST"])
    app.state.service = service
    return app


async def _body(request: Any, most: int) -> bytes:
    """The whole body, read no further than is allowed."""
    parts, held = [], 0
    async for part in request.stream():
        held += len(part)
        if held > most:
            raise TooLargeError
        parts.append(part)
    return b"".join(parts)


def serve(predictor: Predictor, host: str, port: int, bytes_: int = BYTES, rows: int = ROWS) -> None:
    """Answers until it is told to stop (Ctrl-C, SIGTERM); requests that have begun are finished.

    Args:
        predictor: the model.
        host: on which address.
        port: on which port, from 1; 0 for any that is free.
        bytes_: of a body, at most.
        rows: of a request, at most.

    Raises:
        OutputError: a package is missing, or the port is in use.
    """
    uvicorn = _package("uvicorn")
    app = application(predictor, bytes_, rows)
    config = uvicorn.Config(app, host=host, port=port, log_level="warning", access_log=False, lifespan="on")
    try:
        socket = config.bind_socket()
    except SystemExit:  # it has said why
        raise OutputError(say("Port {port} of {host} cannot be used. Choose another (--port).", port=port, host=host)) from None
    socket.listen(config.backlog)  # whoever reads the next line may connect at once
    found = socket.getsockname()
    print(say("Serving at http://{host}:{port}. Ctrl-C ends it.", host=host, port=found[1]), flush=True)  # noqa: T201
    uvicorn.Server(config).run(sockets=[socket])


def _package(name: str) -> Any:
    try:
        return __import__(name)
    except ImportError:
        raise OutputError(
            say("Serving needs the package {name}. Install it: pip install 'titrant[serve]'", name=name)
        ) from None
