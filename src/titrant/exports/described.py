"""What an exported model takes in and puts out, as plain data: `inputs.json`."""

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from titrant.data.forecast import ForecastSchema
from titrant.data.images import ImageSchema
from titrant.data.schema import LIMIT, Schema
from titrant.data.series import Stepped
from titrant.data.text import TextSchema
from titrant.data.tokens import tokenizer_json
from titrant.predictor import Predictor
from titrant.record import write_text
from titrant.texts import say

SIGNATURE = "serving_default"
"""By which TensorFlow and LiteRT serve a model."""


@dataclass(frozen=True)
class Described:
    """An exported model.

    Args:
        tensors: names of the tensors that the model itself takes.
        output: name of what it puts out.
        about: by form of export, the content of `inputs.json`.
        tokenizer: of texts, the content of `tokenizer.json`; empty for other data.
    """

    tensors: tuple[str, ...]
    output: str
    about: dict[str, dict[str, Any]]
    tokenizer: str = ""

    def write(self, folder: Path, form: str) -> tuple[str, ...]:
        """Writes what describes the model; returns the names of the files."""
        write_text(folder / "inputs.json", json.dumps(self.about[form], indent=1, ensure_ascii=False) + "\n")
        if not self.tokenizer:
            return ("inputs.json",)
        write_text(folder / "tokenizer.json", self.tokenizer)
        return "inputs.json", "tokenizer.json"


def described(predictor: Predictor) -> Described:
    """What a model takes in and puts out."""
    schema = predictor.schema
    output = "probabilities" if predictor.classifies else "values"
    shared: dict[str, Any] = {"task": schema.task, "target": schema.target}
    if predictor.classifies:
        shared["output"] = {"name": output, "type": "float32", "shape": ["n", len(schema.classes)], "classes": schema.classes}
    else:
        wide = [schema.horizon] if isinstance(schema, ForecastSchema) else []
        shared["output"] = {"name": output, "type": "float64", "shape": ["n", *wide]}
    served = {"signature": SIGNATURE} | shared
    single = served | {"output": shared["output"] | {"type": "float32"}}
    match schema:
        case Schema():
            tensors = [
                _input("numbers", "float32", ["n", len(schema.number_names)], say("not-a-number for missing"),
                       schema.number_names) | _scales(schema),
                _input("codes", "int32", ["n", len(schema.code_names)], say("0 unseen, 1 missing, 2 and up as listed"),
                       [[column.name, *column.vocabulary] for column in schema.columns if column.kind == "category"]),
            ]  # fmt: skip
            about = {
                "torch": shared | {"inputs": tensors},
                "onnx": shared | {"inputs": columns_of(schema)},
                "tensorflow": served | {"inputs": _named(columns_of(schema))},
                "litert": single | {"inputs": tensors},
            }
            return Described(("numbers", "codes"), output, about)
        case ImageSchema():
            shape = ["n", schema.channels, schema.height, schema.width]
            inputs = [_input("pixels", "uint8", shape, say("brought to this size, upright; grey, or red, green and blue"))]
        case TextSchema():
            inputs = [_input("tokens", "int32", ["n", schema.longest], say("of tokenizer.json; 0 behind a text's end"))]
        case Stepped():
            inputs = [
                _input("series", "float32", ["n", len(schema.channels), schema.steps],
                       say("not-a-number for what is missing, and behind a series' end"), list(schema.channels))
            ]  # fmt: skip
    about = dict.fromkeys(("torch", "onnx"), shared | {"inputs": inputs})
    about |= {"tensorflow": served | {"inputs": inputs}, "litert": single | {"inputs": inputs}}
    tokens = tokenizer_json(schema.vocabulary) if isinstance(schema, TextSchema) else ""
    return Described((str(inputs[0]["name"]),), output, about, tokens)


def _input(name: str, kind: str, shape: list[Any], meaning: str, parts: list[Any] | None = None) -> dict[str, Any]:
    return {"name": name, "type": kind, "shape": shape, "meaning": meaning} | ({} if parts is None else {"columns": parts})


def _scales(schema: Schema) -> dict[str, Any]:
    """What numbers of each column are reduced by and then divided by, in double precision; nothing where that is 0 and 1."""
    columns = [(column.offset, column.scale) for column in schema.columns for _ in column.number_names]
    if all(one == (0.0, 1.0) for one in columns):
        return {}
    return {"offset": [offset for offset, _ in columns], "scale": [scale for _, scale in columns]}


def _named(inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Inputs with names that TensorFlow takes, which are those of Python's arguments, and the columns' own beside them."""
    found: dict[str, dict[str, Any]] = {}
    for one in inputs:
        plain = re.sub(r"[^A-Za-z0-9_]", "_", one["name"])
        plain = plain if plain[:1].isalpha() and plain != "self" else f"column_{plain}"
        name, again = plain, 1
        while name.lower() in found:
            again += 1
            name = f"{plain}_{again}"
        found[name.lower()] = {"name": name, "column": one["name"]} | {key: one[key] for key in one if key != "name"}
    return list(found.values())


def columns_of(schema: Schema) -> list[dict[str, Any]]:
    """What a model in ONNX or TensorFlow takes of a table: one input for each column, or for each part of a date."""
    found: list[dict[str, Any]] = []
    for column in schema.columns:
        if column.kind == "category":
            meaning = say(
                "a category, whole numbers without a decimal point; missing as {missing!r}",
                missing=missing_of(column.vocabulary),
            )
            found.append(_input(column.name, "string", ["n"], meaning))
            continue
        meaning = {
            "number": say("a number; not-a-number for missing; at most ±{limit:g} times what is common", limit=LIMIT),
            "boolean": say("0 or 1; not-a-number for missing"),
            "date": say("this part of a date, Monday is 1; not-a-number for missing"),
        }[column.kind]
        found += [_input(name, "float64", ["n"], meaning) for name in column.number_names]
    return found


def missing_of(vocabulary: tuple[str, ...]) -> str:
    """How a missing category is written: as nothing, unless that is a category."""
    return "" if "" not in vocabulary else "\x00"
