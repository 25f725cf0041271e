"""Rows of requests that come at the same time, predicted together.

While one batch is computed, further requests wait; all that wait make the next batch. Nobody waits for others to come, and the
time of a small operation is shared by all rows of a batch.
"""

import asyncio
from dataclasses import dataclass, field

import torch
from torch import Tensor

from titrant.predictor import Predictor


@dataclass
class _Waiting:
    inputs: tuple[Tensor, ...]
    answer: "asyncio.Future[Tensor]"


@dataclass
class Batcher:
    """Predicts what waits, one batch after another.

    Args:
        predictor: of all requests.
        most: rows of a batch, at most; a single request may have more.

    Attributes:
        batches: that were predicted.
    """

    predictor: Predictor
    most: int = 4096
    batches: int = 0
    _queue: "asyncio.Queue[_Waiting]" = field(default_factory=asyncio.Queue)
    _left: _Waiting | None = None

    async def predicted(self, inputs: tuple[Tensor, ...]) -> Tensor:
        """What the model predicts for these rows, alone or among others.

        Raises:
            Exception: what the model raised.
        """
        waiting = _Waiting(inputs, asyncio.get_running_loop().create_future())
        await self._queue.put(waiting)
        return await waiting.answer

    async def run(self) -> None:
        """Works until it is cancelled."""
        while True:
            batch = await self._next()
            try:
                found = await asyncio.to_thread(self._predict, [one.inputs for one in batch])
            except Exception as error:
                for one in batch:
                    if not one.answer.done():
                        one.answer.set_exception(error)
                continue
            self.batches += 1
            for one, answer in zip(batch, found, strict=True):
                if not one.answer.done():  # who asked may have gone
                    one.answer.set_result(answer)

    async def _next(self) -> list[_Waiting]:
        batch = [self._left or await self._queue.get()]
        self._left = None
        rows = len(batch[0].inputs[0])
        while not self._queue.empty():
            one = self._queue.get_nowait()
            rows += len(one.inputs[0])
            if rows > self.most:
                self._left = one
                break
            batch.append(one)
        return batch

    def _predict(self, parts: list[tuple[Tensor, ...]]) -> list[Tensor]:
        together = tuple(_joined(tensors) for tensors in zip(*parts, strict=True))
        return list(torch.split(self.predictor.raw(*together), [len(part[0]) for part in parts]))


def _joined(tensors: tuple[Tensor, ...]) -> Tensor:
    """Rows below one another; texts of unequal length are padded with 0."""
    widest = max(tensor.shape[1] for tensor in tensors)
    padded = [
        tensor if tensor.shape[1] == widest else torch.nn.functional.pad(tensor, (0, widest - tensor.shape[1]))
        for tensor in tensors
    ]
    return torch.cat(padded)
