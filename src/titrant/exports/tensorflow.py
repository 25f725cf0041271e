"""A model for TensorFlow and for LiteRT: the one file that imports these packages.

    traced graph → TensorFlow's operations → a SavedModel, which takes the columns of a table themselves
                                           → a .tflite file, which takes numbers and codes, all in single precision

Both take any number of rows, and what they predict here is what the written files predict.
"""

import os
import re
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from titrant.data.schema import KNOWN, LIMIT, MISSING, UNSEEN, Column, Schema
from titrant.errors import OutputError
from titrant.exports.described import SIGNATURE, Described, columns_of, missing_of
from titrant.exports.operations import core, translated
from titrant.exports.program import traced
from titrant.exports.quiet import quiet
from titrant.exports.rows import Rows
from titrant.predictor import Predictor
from titrant.texts import say

_ROUNDED = 3e-5  # of the target's standard deviation: how much of a prediction single precision may lose


def write(predictor: Predictor, told: Described, rows: Rows, file: Path) -> object:
    """Writes a SavedModel, loads it again, and returns what it predicts by its signature."""
    tf = _tensorflow()
    schema = predictor.schema
    program = core(traced(predictor, rows))
    with _hushed():
        module = tf.Module()
        if isinstance(schema, Schema):
            given = rows.cells(schema)
            names = [one["name"] for one in told.about["tensorflow"]["inputs"]]
            fed = {name: given[one["name"]] for name, one in zip(names, columns_of(schema), strict=True)}
            kinds = [tf.string if one["type"] == "string" else tf.float64 for one in columns_of(schema)]
            specs = [tf.TensorSpec([None], kind, name) for name, kind in zip(names, kinds, strict=True)]
            # The model must hold its tables, or they are not saved.
            module.tables = {column.name: _table(tf, column) for column in schema.columns if column.kind == "category"}
        else:
            fed, specs = _tensors(tf, told, rows)

        def served(*inputs: Any) -> dict[str, Any]:
            read = _read(tf, schema, module.tables, inputs) if isinstance(schema, Schema) else inputs
            return {told.output: translated(tf, program, read, single=False)}

        _save(tf, module, served, specs, file)
        loaded = tf.saved_model.load(str(file))
        return loaded.signatures[SIGNATURE](**{name: tf.constant(values) for name, values in fed.items()})[told.output].numpy()


def write_lite(predictor: Predictor, told: Described, rows: Rows, file: Path) -> object:
    """Writes a .tflite file, has LiteRT run it, and returns what that predicts."""
    tf, interpreter = _tensorflow(), _interpreter()
    if not predictor.classifies and rows.difference(rows.predicted.float()) > _ROUNDED:
        raise OutputError(
            say("LiteRT computes in single precision, and the values of {target} are too alike for it: around {centre:g}, and "
                "{width:.3g} apart. Export to tensorflow or onnx, or train on their difference to a common value.",
                target=predictor.schema.target, centre=predictor.centre, width=rows.unit)
        )  # fmt: skip
    program = core(traced(predictor, rows))
    with _hushed(), tempfile.TemporaryDirectory() as folder:
        fed, specs = _tensors(tf, told, rows)

        def served(*inputs: Any) -> dict[str, Any]:
            return {told.output: translated(tf, program, inputs, single=True)}

        _save(tf, tf.Module(), served, specs, Path(folder))
        try:
            content = tf.lite.TFLiteConverter.from_saved_model(folder).convert()
        except Exception as error:
            raise OutputError(
                say("LiteRT has no counterpart for what this model computes: {reason}. Export to tensorflow or onnx.",
                    reason=_reason(error))
            ) from None  # fmt: skip
        file.write_bytes(content)
        runner = interpreter(model_path=str(file)).get_signature_runner(SIGNATURE)
        # One row and many, because LiteRT plans its memory anew for each number of rows.
        pieces = [{name: values[part] for name, values in fed.items()} for part in (slice(0, 1), slice(1, None))]
        return np.concatenate([runner(**piece)[told.output] for piece in pieces])


def _tensors(tf: Any, told: Described, rows: Rows) -> tuple[dict[str, NDArray[Any]], list[Any]]:
    """Inputs that are tensors: what stands in the rows, and what the model is told of them."""
    fed = {name: tensor.numpy() for name, tensor in zip(told.tensors, rows.inputs, strict=True)}
    return fed, [tf.TensorSpec([None, *values.shape[1:]], values.dtype, name) for name, values in fed.items()]


def _save(tf: Any, module: Any, served: Any, specs: Sequence[Any], folder: Path) -> None:
    """Writes a function of tensors as the signature of a SavedModel."""
    # Without autograph, which would rewrite this package's functions as it reads them.
    signature = tf.function(served, autograph=False).get_concrete_function(*specs)
    tf.saved_model.save(module, str(folder), signatures={SIGNATURE: signature})


def _table(tf: Any, column: Column) -> Any:
    """The codes of a column's categories."""
    words = [missing_of(column.vocabulary), *column.vocabulary]
    codes = [MISSING, *range(KNOWN, KNOWN + len(column.vocabulary))]
    pairs = tf.lookup.KeyValueTensorInitializer(tf.constant(words), tf.constant(codes, tf.int32))
    return tf.lookup.StaticHashTable(pairs, UNSEEN)


def _read(tf: Any, schema: Schema, tables: Any, inputs: Sequence[Any]) -> tuple[Any, ...]:
    """Numbers float32 [n, f] and codes int32 [n, c] of cells: what `titrant.data.schema` does with those that are read."""
    cells = iter(inputs)
    numbers, codes = [], []
    for column in schema.columns:
        if column.kind == "category":
            codes.append(tables[column.name].lookup(next(cells)))
            continue
        for _ in column.number_names:
            values = next(cells)
            if column.kind == "number":
                finite = tf.where(tf.math.is_inf(values), tf.constant(np.nan, tf.float64), values)
                scaled = (finite - column.offset) / column.scale
                # By comparisons, because minima and maxima of not-a-number differ between runtimes.
                raised = tf.where(scaled < -LIMIT, tf.constant(-LIMIT, tf.float64), scaled)
                values = tf.where(raised > LIMIT, tf.constant(LIMIT, tf.float64), raised)
            numbers.append(tf.cast(values, tf.float32))
    count = tf.shape(inputs[0])[0]
    return tuple(
        tf.stack(found, 1) if found else tf.zeros(tf.stack([count, 0]), kind)
        for found, kind in ((numbers, tf.float32), (codes, tf.int32))
    )


def _reason(error: Exception) -> str:
    """What a conversion failed at, out of pages of text."""
    operations = re.findall(r"(?:TF Select|Custom) ops: ([\w, ]+)", str(error))
    return ", ".join(dict.fromkeys(operations)) or next(iter(str(error).strip().splitlines()), type(error).__name__)[:200]


def _tensorflow() -> Any:
    # TensorFlow reads these when it is first imported: no tale of processors, and no more of a GPU's memory than is needed.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("TF_FORCE_GPU_ALLOW_GROWTH", "true")
    try:
        with _hushed():
            import tensorflow
    except ImportError as error:
        raise OutputError(
            say("TensorFlow and LiteRT need the package {name}. Install it: pip install 'titrant[tensorflow]'", name=error.name)
        ) from None
    return tensorflow


def _interpreter() -> Any:
    try:
        with _hushed():
            from ai_edge_litert.interpreter import Interpreter
    except ImportError as error:
        raise OutputError(
            say("LiteRT needs the package {name}. Install it: pip install 'titrant[litert]'", name=error.name)
        ) from None
    return Interpreter


@contextmanager
def _hushed() -> Iterator[None]:
    """Keeps the packages' talk to itself, and what their C++ writes past Python to the standard error."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        with quiet("tensorflow", "absl"):
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)
