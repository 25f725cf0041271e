"""A model in ONNX, run by onnxruntime: the one file that imports these packages.

Of a table the graph takes the columns themselves, one input each: numbers as they are, categories as strings. What
`titrant.data.schema` does with cells that are read stands in front of the network, as operations of ONNX.
"""

from pathlib import Path
from typing import Any

import torch

from titrant.data.schema import KNOWN, LIMIT, MISSING, UNSEEN, Column, Schema
from titrant.errors import OutputError
from titrant.exports.described import Described, missing_of
from titrant.exports.program import traced
from titrant.exports.quiet import quiet
from titrant.exports.rows import Rows
from titrant.predictor import Predictor
from titrant.texts import say

_PARTS = "titrant/"  # begins the names of what stands in front of a network


def write(predictor: Predictor, told: Described, rows: Rows, file: Path) -> object:
    """Writes the graph, has onnxruntime run it, and returns what that predicts."""
    onnx, runtime = _packages()
    with quiet("torch.onnx", "onnx_ir", "onnxscript"), torch.no_grad():
        made = torch.onnx.export(
            traced(predictor, rows), input_names=list(told.tensors), output_names=[told.output], dynamo=True, verbose=False
        )
    assert made is not None
    model = made.model_proto
    schema = predictor.schema
    fed = {name: tensor.numpy() for name, tensor in zip(told.tensors, rows.inputs, strict=True)}
    if isinstance(schema, Schema):
        _take_columns(onnx, model, schema)
        fed = rows.cells(schema)
    onnx.checker.check_model(model)
    onnx.save_model(model, str(file))
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    return session.run(None, {one.name: fed[one.name] for one in session.get_inputs()})[0]


def _packages() -> tuple[Any, Any]:
    try:
        import onnx
        import onnxruntime
        import onnxscript  # noqa: F401  # torch writes ONNX by it
    except ImportError as error:
        raise OutputError(
            say("ONNX needs the package {name}. Install it: pip install 'titrant[onnx]'", name=error.name)
        ) from None
    return onnx, onnxruntime


def _take_columns(onnx: Any, model: Any, schema: Schema) -> None:
    """Puts the reading of cells in front of a network, in place of its inputs `numbers` and `codes`."""
    graph, helper = model.graph, onnx.helper
    kinds = onnx.TensorProto
    nodes: list[Any] = []
    inputs: list[Any] = []
    numbers: list[str] = []
    codes: list[str] = []
    for column in schema.columns:
        if column.kind == "category":
            inputs.append(helper.make_tensor_value_info(column.name, kinds.STRING, ["n"]))
            codes.append(_coded(helper, kinds, column, nodes))
            continue
        for name in column.number_names:
            inputs.append(helper.make_tensor_value_info(name, kinds.DOUBLE, ["n"]))
            numbers.append(_scaled(helper, kinds, column, name, nodes))
    for target, kind, found in (("numbers", kinds.FLOAT, numbers), ("codes", kinds.INT32, codes)):
        if found:
            nodes.append(helper.make_node("Concat", found, [target], axis=1))
        else:
            nodes += _nothing(helper, kinds, inputs[0].name, target, kind)
    kept = list(graph.node)
    del graph.node[:], graph.input[:]
    graph.node.extend([*nodes, *kept])
    graph.input.extend(inputs)
    if all(one.domain != "ai.onnx.ml" for one in model.opset_import):
        model.opset_import.append(helper.make_opsetid("ai.onnx.ml", 3))


def _coded(helper: Any, kinds: Any, column: Column, nodes: list[Any]) -> str:
    """Codes int32 [n, 1] of a column of strings."""
    at = f"{_PARTS}{column.name}/"
    keys = [missing_of(column.vocabulary), *column.vocabulary]
    values = [MISSING, *range(KNOWN, KNOWN + len(column.vocabulary))]
    nodes += [
        helper.make_node("LabelEncoder", [column.name], [f"{at}wide"], domain="ai.onnx.ml", keys_strings=keys,
                         values_int64s=values, default_int64=UNSEEN),
        helper.make_node("Cast", [f"{at}wide"], [f"{at}flat"], to=kinds.INT32),
        *_standing(helper, kinds, at),
    ]  # fmt: skip
    return f"{at}code"


def _standing(helper: Any, kinds: Any, at: str) -> list[Any]:
    """Nodes that make a column [n, 1] of a row [n]."""
    axis = helper.make_tensor(f"{at}axis", kinds.INT64, [1], [1])
    return [
        helper.make_node("Constant", [], [f"{at}axis"], value=axis),
        helper.make_node("Unsqueeze", [f"{at}flat", f"{at}axis"], [f"{at}code"]),
    ]


def _scaled(helper: Any, kinds: Any, column: Column, name: str, nodes: list[Any]) -> str:
    """Numbers float32 [n, 1] of a column: without infinities, shifted and scaled in double precision, and cut off."""
    at = f"{_PARTS}{name}/"

    def constant(what: str, value: float) -> str:
        nodes.append(
            helper.make_node(
                "Constant", [], [f"{at}{what}"], value=helper.make_tensor(f"{at}{what}", kinds.DOUBLE, [], [value])
            )
        )
        return f"{at}{what}"

    here = name
    if column.kind == "number":
        nodes.append(helper.make_node("IsInf", [here], [f"{at}infinite"]))
        nodes.append(helper.make_node("Where", [f"{at}infinite", constant("nan", float("nan")), here], [f"{at}finite"]))
        nodes.append(helper.make_node("Sub", [f"{at}finite", constant("offset", column.offset)], [f"{at}shifted"]))
        nodes.append(helper.make_node("Div", [f"{at}shifted", constant("scale", column.scale)], [f"{at}scaled"]))
        # Where, because minima and maxima of not-a-number differ between runtimes.
        low, high = constant("low", -LIMIT), constant("high", LIMIT)
        nodes.append(helper.make_node("Less", [f"{at}scaled", low], [f"{at}below"]))
        nodes.append(helper.make_node("Where", [f"{at}below", low, f"{at}scaled"], [f"{at}raised"]))
        nodes.append(helper.make_node("Greater", [f"{at}raised", high], [f"{at}above"]))
        nodes.append(helper.make_node("Where", [f"{at}above", high, f"{at}raised"], [f"{at}cut"]))
        here = f"{at}cut"
    nodes.append(helper.make_node("Cast", [here], [f"{at}flat"], to=kinds.FLOAT))
    nodes.extend(_standing(helper, kinds, at))
    return f"{at}code"


def _nothing(helper: Any, kinds: Any, some: str, target: str, kind: int) -> list[Any]:
    """Nodes that make `target` [n, 0], with as many rows as an input has."""
    at = f"{_PARTS}{target}/"
    zero = helper.make_tensor(f"{at}none", kinds.INT64, [1], [0])
    fill = helper.make_tensor(f"{at}fill", kind, [1], [0])
    return [
        helper.make_node("Shape", [some], [f"{at}rows"]),
        helper.make_node("Constant", [], [f"{at}none"], value=zero),
        helper.make_node("Concat", [f"{at}rows", f"{at}none"], [f"{at}shape"], axis=0),
        helper.make_node("ConstantOfShape", [f"{at}shape"], [target], value=fill),
    ]
