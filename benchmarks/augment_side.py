"""One side of `augment.py`: augments pictures with one library and prints, for each task, how many it does a second.

    python benchmarks/augment_side.py titrant --tasks chain,colour --sides 32,64 --threads 1 --seconds 1

Pictures are random bytes [n, side, side, 3] in memory; what counts is the batch that a network reads: float32 numbers from 0 to
1, [n, 3, side, side]. Imports and the first batches are not in the time. The tasks:

- crop: mirrored half of the time, then shifted by whole pixels up to an eighth of the side.
- chain: mirrored half of the time; turned up to 15°; scaled by 1/1.2 to 1.2; slanted up to 0.1 both ways; moved up to 10 %.
- colour: the chain, then brightness, contrast and saturation by 0.8 to 1.2, and the hue turned up to 10°.
- step (titrant alone, at 32 pixels): a training step of its residual network of 64 channels, without augmentation.

Where a library can join the moves of the chain itself, the side ending in `_joined` lets it. albumentations and Pillow take
pictures one at a time; the others take batches. Each side imports what it needs itself, so that none runs under another's
settings.
"""

import argparse
import json
import math
import random
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from common import numbers

TASKS = ("crop", "chain", "colour", "step")
BATCH = {32: 256, 64: 128, 224: 32}
TURN, SCALE, SLANT, MOVE, CROP, COLOUR, HUE = 15.0, 1.2, 0.1, 0.1, 1 / 8, 0.2, 10.0
DEGREES = math.degrees(math.atan(SLANT))
WARM = 3  # batches before the clock starts

Batch = Callable[[], object]


def pictures(side: int) -> Any:
    """Random bytes, smooth enough to be pictures."""
    count = BATCH.get(side, 32)
    return np.random.default_rng(0).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def titrant(task: str, side: int, threads: int) -> Batch:
    """Titrant's engine, as a fit runs it."""
    import torch

    from titrant.train.augmentation import Augmentation
    from titrant.train.hardware import keep_memory
    from titrant.tricks.acting import Ledger, Streams
    from titrant.tricks.augment import Augment

    keep_memory()
    torch.set_num_threads(threads)
    if task == "step":
        return _step(side)
    slots: dict[str, Any] = {"flip": {"p": 0.5}}
    if task == "crop":
        slots |= {"shift": {"share": CROP}}
    else:
        slots |= {"rotate": {"degrees": TURN}, "scale": {"spread": SCALE - 1}, "shear": {"slope": SLANT}}
        slots |= {"translate": {"share": MOVE}}
    if task == "colour":
        slots |= {name: {"strength": COLOUR} for name in ("brightness", "contrast", "saturation")} | {"hue": {"degrees": HUE}}
    cpu = torch.device("cpu")
    ledger = Ledger(1, cpu)
    ledger.probing = False  # as in fifteen of sixteen steps
    augmentation = Augmentation([Augment.model_validate(slots)], Streams([0], cpu), ledger)
    x = torch.tensor(pictures(side)).unsqueeze(0)
    turns = torch.arange(x.shape[1]).unsqueeze(0)
    return lambda: augmentation(x, turns)


def _step(side: int) -> Batch:
    """A training step of a batch, without augmentation."""
    import torch

    from titrant.clock import Clock
    from titrant.recipe import Recipe
    from titrant.train.cohort import Cohort
    from titrant.train.images import ImageProblem
    from titrant.train.member import Member
    from titrant.train.metrics import METRICS

    batch = BATCH[side]
    recipe = Recipe.of({
        "model": {"kind": "resnet", "width": 64, "depth": 1}, "normalize": "batch", "batch": {"kind": "fixed", "size": batch},
        "stop": {"kind": "last", "epochs": 1000},
    })  # fmt: skip
    x, rows = torch.tensor(pictures(side)).repeat(2, 1, 1, 1), torch.arange(batch)
    problem = ImageProblem(x, torch.arange(2 * batch) % 10, "multiclass", 10, rows, torch.device("cpu"))
    clock = Clock.of(3600)
    cohort = Cohort(problem, [Member(0, recipe, 0, "benchmark", rows, rows + batch)], METRICS["accuracy"], clock)
    return lambda: cohort.train(cohort.step + 1, clock)


def torchtransform(task: str, side: int, threads: int) -> Batch:
    """torchtransform, which joins moves and colours itself."""
    import torch
    import torchtransform as tt

    torch.set_num_threads(threads)
    most = 1 + COLOUR
    steps: list[Any] = [tt.HorizontalFlip(p=0.5)]
    if task == "crop":
        steps += [tt.Pad(int(side * CROP)), tt.RandomCrop(side)]
    else:
        steps += [
            tt.Rotate((-TURN, TURN)), tt.Scale((1 / SCALE, SCALE)), tt.Shear(xy=(-DEGREES, DEGREES), yx=(-DEGREES, DEGREES)),
            tt.Translate(x=(-MOVE, MOVE), y=(-MOVE, MOVE), relative=True),
        ]  # fmt: skip
    if task == "colour":
        factors = (1 - COLOUR, most)
        steps += [tt.Brightness(factors), tt.Contrast(factors), tt.Saturation(factors), tt.Hue((-HUE / 360, HUE / 360))]
    act, x = tt.Compose(*steps), torch.tensor(pictures(side))
    return lambda: act(x.movedim(3, 1).float().div_(255))


def kornia(task: str, side: int, threads: int, *, joined: bool = False) -> Batch:
    """kornia, one operation after another."""
    import kornia.augmentation as k
    import torch

    torch.set_num_threads(threads)
    moves: list[Any] = [k.RandomHorizontalFlip(p=0.5)]
    scale, slants = (1 / SCALE, SCALE), (-DEGREES, DEGREES, -DEGREES, DEGREES)
    if task == "crop":
        moves += [k.RandomCrop((side, side), padding=int(side * CROP), padding_mode="reflect")]
    elif joined:
        moves += [k.RandomAffine(TURN, translate=(MOVE, MOVE), scale=scale, shear=slants, p=1.0)]
    else:
        moves += [
            k.RandomRotation(TURN, p=1.0), k.RandomAffine(0, scale=scale, p=1.0), k.RandomAffine(0, shear=slants, p=1.0),
            k.RandomAffine(0, translate=(MOVE, MOVE), p=1.0),
        ]  # fmt: skip
    if task == "colour":
        moves += [k.ColorJiggle(COLOUR, COLOUR, COLOUR, HUE / 360, p=1.0)]
    act, x = k.AugmentationSequential(*moves, data_keys=["input"]), torch.tensor(pictures(side))
    return lambda: act(x.movedim(3, 1).float().div_(255))


def kornia_joined(task: str, side: int, threads: int) -> Batch:
    """kornia, all moves but the mirror in one."""
    return kornia(task, side, threads, joined=True)


def albumentations(task: str, side: int, threads: int, *, joined: bool = False) -> Batch:
    """albumentations, one operation after another, picture by picture."""
    import albumentations as a
    import cv2
    import torch

    torch.set_num_threads(threads)
    cv2.setNumThreads(threads)
    edge: dict[str, Any] = {"border_mode": cv2.BORDER_REFLECT_101, "p": 1.0}
    scale, slants = (1 / SCALE, SCALE), (-DEGREES, DEGREES)
    moves: list[Any] = [a.HorizontalFlip(p=0.5)]
    if task == "crop":
        large = side + 2 * int(side * CROP)
        moves += [a.PadIfNeeded(large, large, **edge), a.RandomCrop(side, side, p=1.0)]
    elif joined:
        moves += [a.Affine(rotate=(-TURN, TURN), scale=scale, shear=slants, translate_percent=(-MOVE, MOVE), **edge)]
    else:
        moves += [
            a.Rotate((-TURN, TURN), **edge), a.Affine(scale=scale, **edge), a.Affine(shear=slants, **edge),
            a.Affine(translate_percent=(-MOVE, MOVE), **edge),
        ]  # fmt: skip
    if task == "colour":
        factors = (1 - COLOUR, 1 + COLOUR)
        moves += [a.ColorJitter(factors, factors, factors, (-HUE / 360, HUE / 360), p=1.0)]
    act, x = a.Compose(moves), pictures(side)
    return lambda: _batch([act(image=picture)["image"] for picture in x])


def albumentations_joined(task: str, side: int, threads: int) -> Batch:
    """albumentations, all moves but the mirror in one."""
    return albumentations(task, side, threads, joined=True)


def pillow(task: str, side: int, threads: int) -> Batch:
    """Pillow, with the matrix of all moves worked out by hand."""
    from PIL import Image, ImageEnhance

    images = [Image.fromarray(picture) for picture in pictures(side)]
    colours = (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color)

    def uniform(most: float) -> float:
        return random.uniform(-most, most)

    def moved(image: Any) -> Any:
        if task == "crop":
            most = int(side * CROP)
            down, across = random.randint(-most, most), random.randint(-most, most)
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if random.random() < 0.5 else image
            return image.crop((across, down, across + side, down + side))
        angle, factor = math.radians(uniform(TURN)), SCALE ** uniform(1.0)
        turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
        matrix = turn @ np.array([[1.0, uniform(SLANT)], [uniform(SLANT), 1.0]]) * factor
        matrix[:, 0] *= random.choice([1.0, -1.0])
        middle = np.array([side / 2, side / 2])
        move = middle - matrix @ middle + [uniform(MOVE * side), uniform(MOVE * side)]
        data = (*matrix[0], move[0], *matrix[1], move[1])
        return image.transform(image.size, Image.Transform.AFFINE, data, Image.Resampling.BILINEAR)

    def recoloured(image: Any) -> Any:
        for kind in colours:
            image = kind(image).enhance(1 + uniform(COLOUR))
        hue, *others = image.convert("HSV").split()
        shift = round(uniform(HUE) / 360 * 255)
        hue = hue.point(lambda value: (value + shift) % 256)
        return Image.merge("HSV", (hue, *others)).convert("RGB")

    def done(image: Any) -> Any:
        image = moved(image)
        return np.asarray(recoloured(image) if task == "colour" else image)

    return lambda: _batch([done(image) for image in images])


def _batch(done: list[Any]) -> Any:
    """Pictures [side, side, 3] as one batch of numbers; channels stay last in memory, as they are fastest."""
    import torch

    return torch.from_numpy(np.stack(done)).float().div_(255).movedim(3, 1)


SIDES = {
    side.__name__: side
    for side in (titrant, torchtransform, kornia, kornia_joined, albumentations, albumentations_joined, pillow)
}


def parser() -> argparse.ArgumentParser:
    """The arguments."""
    found = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    found.add_argument("library", choices=SIDES)
    found.add_argument("--tasks", type=_tasks, default=["chain"], help=f"of {', '.join(TASKS)} (default: chain)")
    found.add_argument("--sides", type=numbers, default=[32], help="pixels (default: 32)")
    found.add_argument("--threads", type=int, default=1)
    found.add_argument("--seconds", type=float, default=1.0, help="for each task (default: 1)")
    return found


def _tasks(text: str) -> list[str]:
    names = text.split(",")
    if unknown := set(names) - set(TASKS):
        raise argparse.ArgumentTypeError(f"there is no task {min(unknown)!r}; choose of {', '.join(TASKS)}")
    return names


def rate(batch: Batch, side: int, seconds: float) -> float:
    """Pictures a second."""
    for _ in range(WARM):
        batch()
    batches, begun = 0, time.perf_counter()
    while time.perf_counter() < begun + seconds:
        batch()
        batches += 1
    return batches * BATCH.get(side, 32) / (time.perf_counter() - begun)


def main() -> None:
    """Measures."""
    given = parser().parse_args()
    for side in given.sides:
        for task in given.tasks:
            if task == "step" and (given.library, side) != ("titrant", 32):
                continue
            try:
                batch = SIDES[given.library](task, side, given.threads)
            except ModuleNotFoundError as error:
                sys.exit(f"{error.name} is not installed here")
            print(json.dumps({"task": task, "side": side, "rate": rate(batch, side, given.seconds)}), flush=True)


if __name__ == "__main__":
    main()
