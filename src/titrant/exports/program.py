"""A model as a `torch.export.ExportedProgram`: a graph of operations that PyTorch runs without any of this project's code."""

import warnings
from copy import deepcopy
from pathlib import Path

import torch
from torch.export import Dim, ExportedProgram

from titrant.errors import OutputError
from titrant.exports.described import Described
from titrant.exports.rows import Rows
from titrant.models.image import Conv
from titrant.predictor import Predictor
from titrant.texts import say

_SAMPLED = 7  # rows with which a model is traced; the graph takes any number of them


def traced(predictor: Predictor, rows: Rows) -> ExportedProgram:
    """The graph of a model, for any number of rows."""
    predictor = deepcopy(predictor)
    for module in predictor.modules():
        if isinstance(module, Conv):
            module.settle()
    sample = tuple(tensor[:_SAMPLED].clone() for tensor in rows.inputs)
    while len(sample[0]) < 2:
        sample = tuple(torch.cat([tensor, tensor]) for tensor in sample)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # about the inside of torch.export
        shapes = {"inputs": tuple({0: Dim.DYNAMIC} for _ in sample)}
        try:
            return torch.export.export(predictor, sample, dynamic_shapes=shapes, strict=False)
        except Exception as error:  # a network of a person's own may do anything
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            raise OutputError(
                say("PyTorch cannot write this model down as a graph of operations: {reason}", reason=reason[:200])
            ) from None


def write(predictor: Predictor, told: Described, rows: Rows, file: Path) -> object:
    """Writes the graph, loads it again, and returns what it predicts."""
    torch.export.save(traced(predictor, rows), file)
    with torch.no_grad():
        return torch.export.load(file).module()(*rows.inputs)
