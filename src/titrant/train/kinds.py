"""Data of any kind as a problem, and a saved model's encoder and shape from its schema: where kinds are told apart."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from titrant.data.images import Images, ImageSchema
from titrant.data.learnable import AnySchema, Learnable, truth_of
from titrant.data.series import Series, Stepped
from titrant.data.text import Texts, TextSchema
from titrant.models import text
from titrant.models.encoder import Encoder
from titrant.models.image import ImageShape, Pixels, last
from titrant.models.network import Shape
from titrant.models.series import SeriesEncoder, shape_of
from titrant.models.table import TableShape
from titrant.train.images import ImageProblem
from titrant.train.problem import Problem
from titrant.train.series import SeriesProblem
from titrant.train.tables import TableProblem
from titrant.train.text import TextProblem
from titrant.tricks.data import Data


def problem_of(dataset: Learnable, rows: Tensor, device: torch.device, visible: Tensor | None = None) -> Problem:
    """The data as a problem.

    Args:
        dataset: the data.
        rows: those that may be learned from.
        device: where everything shall be.
        visible: rows that will be looked at, at all; None for all. What is costly to encode is encoded of these alone.
    """
    target = truth_of(dataset).to(device)
    task, classes = dataset.schema.task, max(1, len(dataset.schema.classes))
    if isinstance(dataset, Images):
        return ImageProblem(last(dataset.pixels).contiguous().to(device), target, task, classes, rows, device)
    if isinstance(dataset, Series):
        return SeriesProblem(dataset.series.to(device), target, task, classes, rows, device, visible)
    if isinstance(dataset, Texts):
        begins = torch.tensor(dataset.schema.vocabulary.begins, device=device)
        return TextProblem(dataset.tokens.to(device), begins, target, task, classes, rows, device, visible)
    return TableProblem(
        numbers=dataset.numbers.to(device),
        codes=dataset.codes.to(device),
        target=target,
        cardinalities=tuple(dataset.schema.cardinalities),
        task=task,
        classes=classes,
        rows=rows,
        device=device,
    )


def restored(schema: AnySchema, data: Data, tensors: Mapping[str, Tensor]) -> tuple[nn.Module, Shape]:
    """The encoder of a saved network, and what the network must know.

    Args:
        schema: of the model.
        data: the data slot of the network's recipe.
        tensors: the encoder's own, by name.
    """
    outputs = len(schema.classes) or 1
    if isinstance(schema, ImageSchema):
        return Pixels(), ImageShape(schema.channels, schema.height, schema.width, outputs)
    if isinstance(schema, Stepped):
        steps = SeriesEncoder(data, tensors)
        return steps, shape_of(steps, schema.steps, schema.ragged, schema.horizon or outputs)
    if isinstance(schema, TextSchema):
        words = text.TextEncoder(data, tensors)
        return words, text.shape_of(words, len(schema.vocabulary.pieces), outputs)
    encoder = Encoder(data, len(schema.number_names), schema.cardinalities, tensors)
    return encoder, TableShape(encoder.features, encoder.width - encoder.features, tuple(encoder.cardinalities), outputs)
