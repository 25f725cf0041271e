"""Picture files to pixels: any kind of file that Pillow reads, upright, at one size, in a memory-mapped uint8 cache.

Everything that can be wrong with a file ends as one sentence about that file: it is named and left out, and only if many are
broken is the whole refused. Files are decoded by threads, because Pillow lets others work while it does; JPEG files are decoded
at the smallest scale that is still large enough, so that a huge photo costs little.
"""

import io
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, JpegImagePlugin, UnidentifiedImageError
from torch import Tensor

from titrant.data.sources import listed
from titrant.errors import DataError
from titrant.texts import say

Item: TypeAlias = Path | bytes | NDArray[Any]
"""A picture that is not decoded yet: a file, the bytes of one, or numbers [h, w], [h, w, c] or [c, h, w]."""

Progress: TypeAlias = Callable[[int, int], None]
"""Is told how many of how many pictures are decoded; may raise to end it."""

MOST_BROKEN = 0.05
"""Share of pictures that may be broken; more is an error."""

LARGEST = 100_000_000
"""Pixels that are decoded of one file at most."""

USUAL = 64
"""Pixels of a side up to which pictures are trained at by default."""

SMALLEST = 8
"""Pixels of a side at least; smaller pictures are enlarged."""

_SURVEYED = 500  # headers that are looked at to find the common size
_CHUNK = 64  # pictures that a thread decodes at a time
_SIDEWAYS = (5, 6, 7, 8)  # EXIF orientations that exchange width and height
_ORIENTATION = 0x0112
_BROKEN = (OSError, SyntaxError, ValueError, TypeError, ArithmeticError, LookupError, EOFError, MemoryError,
           Image.DecompressionBombError)  # fmt: skip


@dataclass(frozen=True)
class Size:
    """What all pictures of a data set are brought to: channels (1 grey, 3 colours), height and width in pixels."""

    channels: int
    height: int
    width: int


def common_size(items: Sequence[Item], wanted: int | None = None) -> Size:
    """The size that suits pictures: their median, at most `USUAL` pixels a side; grey if all of those looked at are grey.

    Args:
        items: of which up to 500 are looked at, evenly spaced.
        wanted: pixels of the longer side in place of the usual ones.
    """
    chosen = np.unique(np.linspace(0, len(items) - 1, min(len(items), _SURVEYED)).round().astype(int))
    sizes = [found for place in chosen if (found := _header(items[place])) is not None]
    if not sizes:
        return Size(3, wanted or USUAL, wanted or USUAL)
    height, width = (float(np.median([size[axis] for size in sizes])) for axis in (0, 1))
    scale = (wanted or min(USUAL, max(height, width))) / max(height, width)
    channels = 3 if any(size[2] for size in sizes) else 1
    return Size(channels, max(SMALLEST, round(height * scale)), max(SMALLEST, round(width * scale)))


def decoded(
    items: Sequence[Item], names: Sequence[str], size: Size, notes: list[str], progress: Progress
) -> tuple[Tensor, Tensor]:
    """All pictures as pixels.

    Args:
        items: the pictures.
        names: theirs, for messages.
        size: to bring them to.
        notes: receives the names of broken pictures.
        progress: is told how far it is.

    Returns:
        Pixels uint8 [n, c, h, w], channels last in memory, of the pictures that are not broken, mapped from a file that the
        system removes after use; and their places among `items`, int64 [n].

    Raises:
        DataError: more than a twentieth of the pictures are broken.
    """
    pixels = _mapped((len(items), size.height, size.width, size.channels))
    broken: dict[int, str] = {}
    done, lock = [0], threading.Lock()

    def work(begin: int) -> None:
        end = min(begin + _CHUNK, len(items))
        for place in range(begin, end):
            try:
                pixels[place] = _pixels(items[place], size)
            except _BROKEN as error:
                broken[place] = _reason(error)
        with lock:
            done[0] += end - begin

    with ThreadPoolExecutor(_threads(), "titrant-decode") as pool:
        try:
            for _ in pool.map(work, range(0, len(items), _CHUNK)):
                progress(done[0], len(items))
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    if not broken:
        return torch.from_numpy(pixels).permute(0, 3, 1, 2), torch.arange(len(items))
    examples = listed([f"{names[place]} ({broken[place]})" for place in sorted(broken)][:5])
    if len(broken) > MOST_BROKEN * len(items):
        raise DataError(
            say("{count} of {all} pictures cannot be used, such as {examples}. Mend or remove them.",
                count=len(broken), all=len(items), examples=examples)
        )  # fmt: skip
    notes.append(
        say("{count} of {all} pictures are left out because they cannot be used: {examples}.",
            count=len(broken), all=len(items), examples=examples)
    )  # fmt: skip
    kept = np.array([place for place in range(len(items)) if place not in broken])
    for new, old in enumerate(kept):
        pixels[new] = pixels[old]
    return torch.from_numpy(pixels[: len(kept)]).permute(0, 3, 1, 2), torch.from_numpy(kept)


def _mapped(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Numbers in a file without a name, which vanishes with its last user, even after a kill."""
    with tempfile.TemporaryFile(prefix="titrant-") as file:
        try:
            return np.memmap(file, np.uint8, "w+", shape=shape)
        except OSError as error:
            raise DataError(
                say("There is no room for {size:.1f} GB of pixels in {folder}: {reason}. Choose a smaller size, or set TMPDIR.",
                    size=np.prod(shape) / 1e9, folder=tempfile.gettempdir(), reason=error.strerror)
            ) from None  # fmt: skip


def _threads() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def _opened(item: Path | bytes) -> Iterator[Image.Image]:
    """An image whose header is read. JPEG files pass Pillow's check of size, because they are decoded at a smaller scale."""
    if isinstance(item, bytes) and not item:
        raise ValueError(say("it is empty"))
    if isinstance(item, Path) and item.stat().st_size == 0:
        raise ValueError(say("it is empty"))
    with io.BytesIO(item) if isinstance(item, bytes) else item.open("rb") as file:
        is_jpeg = file.read(3) == b"\xff\xd8\xff"
        file.seek(0)
        with JpegImagePlugin.JpegImageFile(file) if is_jpeg else Image.open(file) as image:
            yield image


def _header(item: Item) -> tuple[int, int, bool] | None:
    """Height, width and whether there may be colours; None if that cannot be told."""
    if isinstance(item, np.ndarray):
        if item.ndim == 2:
            return (*item.shape, False)
        laid = _channels_last(item)
        return (laid.shape[0], laid.shape[1], laid.shape[2] >= 3)
    try:
        with _opened(item) as image:
            width, height = image.size
            if image.getexif().get(_ORIENTATION) in _SIDEWAYS:
                width, height = height, width
            return height, width, image.mode not in {"1", "L", "LA", "I", "F"} and not image.mode.startswith("I;")
    except _BROKEN:
        return None


def _pixels(item: Item, size: Size) -> NDArray[np.uint8]:
    """One picture, uint8 [h, w, c]."""
    if isinstance(item, np.ndarray) and item.dtype == np.uint8 and item.shape[:2] == (size.height, size.width):
        laid = item.reshape(size.height, size.width, -1)
        if laid.shape[2] == size.channels:
            return laid
    if isinstance(item, np.ndarray):
        return _shaped(_image_of(item), size)
    with _opened(item) as image:
        image.draft(None, (2 * size.width, 2 * size.height))
        if image.size[0] * image.size[1] > LARGEST:
            raise ValueError(say("{width}×{height} pixels are too many to decode", width=image.size[0], height=image.size[1]))
        image.load()
        return _shaped(ImageOps.exif_transpose(image), size)


def _image_of(numbers: NDArray[Any]) -> Image.Image:
    if numbers.dtype == np.uint16:
        numbers = (numbers >> 8).astype(np.uint8)
    laid = numbers if numbers.ndim == 2 else _channels_last(numbers)
    return Image.fromarray(laid[..., 0] if laid.ndim == 3 and laid.shape[2] == 1 else np.ascontiguousarray(laid))


def _channels_last(numbers: NDArray[Any]) -> NDArray[Any]:
    return numbers if numbers.shape[2] <= 4 or numbers.shape[0] > 4 else numbers.transpose(1, 2, 0)


def _shaped(image: Image.Image, size: Size) -> NDArray[np.uint8]:
    """Flat on white, in grey or colours, cut to the proportions of `size` around the middle, and scaled."""
    plain = _eight_bits(image)
    if plain.has_transparency_data:
        solid = plain.convert("RGBA")
        plain = Image.alpha_composite(Image.new("RGBA", solid.size, "white"), solid)
    plain = plain.convert("L" if size.channels == 1 else "RGB")
    if plain.size != (size.width, size.height):
        plain = ImageOps.fit(plain, (size.width, size.height), Image.Resampling.BILINEAR)
    numbers: NDArray[np.uint8] = np.asarray(plain)
    return numbers[..., None] if size.channels == 1 else numbers


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 or 32 bits in 8 bits: the upper ones where numbers need 16, and the numbers themselves where they do not."""
    if image.mode not in {"I", "F"} and not image.mode.startswith("I;16"):
        return image
    numbers = np.nan_to_num(np.asarray(image, dtype=np.float64))
    if image.mode.startswith("I;16") or numbers.max(initial=0) > 255:
        numbers = numbers / 257
    return Image.fromarray(numbers.round().clip(0, 255).astype(np.uint8))


def _reason(error: BaseException) -> str:
    """Why a picture cannot be used, in a few words."""
    if isinstance(error, UnidentifiedImageError | SyntaxError):
        return say("it is no picture")
    if isinstance(error, Image.DecompressionBombError):
        return say("it has too many pixels to decode")
    if isinstance(error, MemoryError):
        return say("there is not enough memory for it")
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    return " ".join(str(error).split())[:100] or type(error).__name__
