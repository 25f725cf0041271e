"""`titrant serve`."""

from pathlib import Path
from typing import Annotated

import typer

from titrant.cli.app import app
from titrant.texts import say


@app.command(
    short_help=say("Answer predictions over HTTP."),
    help=say(
        "Answer predictions of RUN's model over HTTP.\n\n"
        'POST /predict with {"rows": [{"column": value, ...}, ...]}; GET /model says what a row holds. Requests that come at '
        "the same time are predicted together. /health and /metrics (Prometheus) are there too.\n\n"
        "\b\nExamples:\n  titrant serve titrant-runs/adult-1\n"
        '  curl -d \'{{"rows": [{{"age": 41, "job": "Sales"}}]}}\' http://127.0.0.1:8000/predict'
    ),
)
def serve(
    run: Annotated[Path, typer.Argument(metavar="RUN", help=say("A folder that `titrant fit` wrote."))],
    host: Annotated[str, typer.Option(metavar="ADDRESS", help=say("Where to listen; 0.0.0.0 for all networks."))] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, metavar="NUMBER", help=say("0 for any that is free."))] = 8000,
    megabytes: Annotated[float, typer.Option(min=0.001, metavar="NUMBER", help=say("Of a request's body, at most."))] = 16.0,
    rows: Annotated[int, typer.Option(min=1, metavar="NUMBER", help=say("Of a request, at most."))] = 10_000,
) -> None:
    """Serves one model; see `titrant.server.app`."""
    from titrant.predictor import Predictor
    from titrant.server.app import serve as answer

    answer(Predictor.load(run / "model"), host, port, int(megabytes * (1 << 20)), rows)
