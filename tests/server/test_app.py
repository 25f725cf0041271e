"""The server of a model, as a process on the loopback address: right answers, errors as JSON, and many requests at once."""

import base64
import http.client
import io
import json
import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import local
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

import titrant
from titrant import samples
from titrant.errors import DataError
from titrant.server.rows import parsed, readable

REQUESTS = int(os.environ.get("TITRANT_TEST_REQUESTS", "2000"))  # 10,000 and more by the environment
SMALL = {"model": {"kind": "mlp", "width": 16}, "stop": {"kind": "last", "epochs": 5}}


@contextmanager
def serving(run: Path, *options: str) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A server of a run, and its port."""
    command = [sys.executable, "-m", "titrant", "serve", str(run), "--port", "0", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://127\.0\.0\.1:(\d+)\.", line)
            assert found, line + process.stdout.read()
            yield process, int(found[1])
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)


def asked(port: int, body: object, method: str = "POST", path: str = "/predict") -> tuple[int, Any]:
    """The status and the content of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    try:
        connection.request(method, path, body if isinstance(body, bytes | None) else json.dumps(body))
        response = connection.getresponse()
        content = response.read()
        return response.status, json.loads(content) if response.headers[
            "content-type"
        ] == "application/json" else content.decode()
    finally:
        connection.close()


@pytest.fixture(scope="module")
def penguins(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("serve") / "run"
    titrant.fit(samples.path("penguins"), "species", budget="60s", recipe=SMALL, out=folder)
    return folder


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return pl.read_csv(samples.path("penguins"), null_values=["NA", ""]).drop("species").to_dicts()


def test_answers_are_those_of_the_model(penguins: Path, rows: list[dict[str, Any]]) -> None:
    run = titrant.load(penguins)
    with serving(penguins) as (process, port):
        status, found = asked(port, {"rows": rows[:50]})
        assert status == 200
        frame = pl.DataFrame(rows[:50])
        assert found["predictions"] == run.predict(frame).tolist()
        classes = list(run.predictor.schema.classes)
        np.testing.assert_allclose(
            [[row[name] for name in classes] for row in found["probabilities"]], run.predict_proba(frame)
        )
        status, about = asked(port, None, "GET", "/model")
        assert about["classes"] == classes
        assert about["columns"]["island"] == "category"
        assert asked(port, None, "GET", "/health") == (200, {"status": "ok"})
        status, found = asked(port, {"rows": [rows[0] | {"island": "Mars", "body_mass_g": None}]})
        assert (status, len(found["notes"])) == (200, 1)
        assert "'Mars'" in found["notes"][0]
        text = asked(port, None, "GET", "/metrics")[1]
        assert 'titrant_requests_total{status="200"}' in text
        assert "titrant_rows_predicted_total 51" in text
    assert process.returncode in (0, -signal.SIGINT, 130)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        (b"no json", 422, "no JSON"),
        (b"\xff\xfe", 422, "no JSON"),
        (b"[" * 40_000, 422, "nested too deeply"),
        ({"rows": []}, 422, "must be an object with rows"),
        ([1, 2], 422, "must be an object with rows"),
        ({"rows": [{"island": "Dream"}]}, 422, "lacks 6 of the columns"),
        ({"rows": [{"island": ["Dream"]}]}, 422, "'island' holds a list"),
        ({"rows": [{}] * 101}, 422, "101 rows are more than the 100"),
        (b" " * 60_000, 413, "more than 52,428 bytes"),
    ],
)
def test_what_cannot_be_read_is_said(limited: int, body: object, status: int, said: str) -> None:
    found = asked(limited, body)
    assert found[0] == status
    assert said in found[1]["error"]


@pytest.fixture(scope="module")
def limited(penguins: Path) -> Iterator[int]:
    with serving(penguins, "--megabytes", "0.05", "--rows", "100") as (_, port):
        yield port


def test_other_addresses_and_methods_answer_as_well(limited: int) -> None:
    assert asked(limited, None, "GET", "/elsewhere")[0] == 404
    assert asked(limited, None, "GET", "/predict")[0] == 405


def memory(process: int) -> int:
    """Resident bytes."""
    return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory of a process is read from /proc")
def test_thousands_of_requests_leave_no_wrong_answer_and_no_memory(penguins: Path, rows: list[dict[str, Any]]) -> None:
    expected = titrant.load(penguins).predict_proba(pl.DataFrame(rows))
    classes = list(titrant.load(penguins).predictor.schema.classes)
    kept, connections = local(), list[http.client.HTTPConnection]()

    def one(number: int, port: int) -> str:
        draw = random.Random(number)
        wrong = draw.random() < 0.2
        start, count = draw.randrange(len(rows) - 5), draw.randrange(1, 5)
        body = json.dumps({"rows": rows[start : start + count]}).encode()
        if wrong:
            body = draw.choice([body[: draw.randrange(len(body))], b"", b"{}", b'{"rows": [1]}', b'{"rows": [{"island": {}}]}'])
        if not hasattr(kept, "connection"):
            kept.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            connections.append(kept.connection)
        kept.connection.request("POST", "/predict", body)
        response = kept.connection.getresponse()
        content = json.loads(response.read())
        if wrong:
            return "" if response.status == 422 and content["error"] else f"{response.status} for {body[:80]!r}"
        if response.status != 200:
            return f"{response.status}: {content}"
        found = np.array([[row[name] for name in classes] for row in content["probabilities"]])
        return "" if np.allclose(found, expected[start : start + count], atol=1e-5) else f"wrong answer for rows {start}..."

    with serving(penguins) as (process, port), ThreadPoolExecutor(8) as pool:
        first = list(pool.map(lambda number: one(number, port), range(REQUESTS // 5)))
        before = memory(process.pid)
        later = list(pool.map(lambda number: one(number, port), range(REQUESTS // 5, REQUESTS)))
        grown = memory(process.pid) - before
        batches = float(re.search(r"titrant_batches_total (\d\S*)", asked(port, None, "GET", "/metrics")[1])[1])  # type: ignore[index]
    for connection in connections:
        connection.close()
    assert [problem for problem in [*first, *later] if problem] == []
    assert grown < 30 << 20
    assert batches < 0.8 * REQUESTS  # some were predicted together


def test_texts_pictures_and_series_are_served_too(tmp_path: Path) -> None:
    said = {"t": ["how good it is", "how bad it is"] * 40, "y": ["a", "b"] * 40}
    quick = {"model": "linear", "stop": {"kind": "last", "epochs": 2}}
    text = titrant.fit(said, "y", text="t", budget="60s", recipe=quick, out=tmp_path / "text")
    with serving(tmp_path / "text") as (_, port):
        status, found = asked(port, {"rows": [{"t": "good"}, {"t": "how bad it is, and more"}]})
    assert (status, found["predictions"]) == (200, text.predict({"t": ["good", "how bad it is, and more"]}).tolist())

    shades = np.repeat(np.arange(0, 240, 3, dtype=np.uint8), 64).reshape(80, 8, 8)
    one = {"model": {"kind": "cnn", "width": 4}, "stop": {"kind": "last", "epochs": 1}}
    titrant.fit({"x": shades, "y": np.arange(80) // 40}, budget="60s", recipe=one, out=tmp_path / "pictures")
    file = io.BytesIO()
    Image.fromarray(shades[70]).save(file, "png")
    with serving(tmp_path / "pictures") as (_, port):
        status, found = asked(port, {"rows": [{"image": base64.b64encode(file.getvalue()).decode()}]})
        expected = titrant.load(tmp_path / "pictures").predict_proba({"x": shades[70:71]})
        np.testing.assert_allclose(list(found["probabilities"][0].values()), expected[0], atol=1e-6)
        assert asked(port, {"rows": [{"image": "/etc/passwd"}]})[0] == 422
        assert asked(port, {"rows": [{"image": base64.b64encode(b"no picture").decode()}]})[0] == 422

    waves = np.sin(np.arange(16) * np.linspace(0.1, 1, 60)[:, None])[:, None].astype(np.float32)
    titrant.fit({"x": waves, "y": np.arange(60) // 30}, budget="60s", recipe={**one, "model": {"kind": "fcn", "width": 4}},
                out=tmp_path / "series")  # fmt: skip
    with serving(tmp_path / "series") as (_, port):
        status, found = asked(port, {"rows": [{"series": waves[3, 0].tolist()}, {"series": [[0.5, None, 0.25]]}]})
        expected = titrant.load(tmp_path / "series").predict_proba(waves[3:4])
    assert status == 200
    np.testing.assert_allclose(list(found["probabilities"][0].values()), expected[0], atol=1e-6)


def test_values_of_a_column_are_read_as_a_table_would(penguins: Path) -> None:
    schema = titrant.load(penguins).predictor.schema
    frame = readable(schema, [{"a": 1, "b": 1.5, "c": True, "d": "x", "e": 10**400}, {"a": 2, "b": 2, "c": None, "d": 3}])
    assert isinstance(frame, pl.DataFrame)
    assert frame.schema == {"a": pl.Int64, "b": pl.Float64, "c": pl.Boolean, "d": pl.String, "e": pl.Float64}
    assert frame["d"].to_list() == ["x", "3"]
    with pytest.raises(DataError, match="3 rows are more than the 2"):
        parsed(b'{"rows": [{}, {}, {}]}', 2)
