"""Pictures of every kind of source, whole and broken, made here."""

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from titrant.data.decode import Size, common_size, decoded
from titrant.data.images import Images, read_images
from titrant.data.learnable import read_data
from titrant.data.pictures import are_pictures, find_pictures
from titrant.errors import DataError

SIZE = Size(3, 16, 16)


def content(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def plain(colour: str | int = "red", mode: str = "RGB", size: tuple[int, int] = (16, 16)) -> Image.Image:
    return Image.new(mode, size, colour)


def put(path: Path, image: Image.Image | bytes | None = None, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    form = {".jpg": "JPEG", ".tif": "TIFF", ".bmp": "BMP", ".gif": "GIF", ".webp": "WEBP"}.get(path.suffix, "PNG")
    path.write_bytes(image if isinstance(image, bytes) else content(image or plain(), form, **options))
    return path


def pixels(*items: Any, size: Size = SIZE, notes: list[str] | None = None) -> NDArray[np.uint8]:
    found, _ = decoded(
        items, [f"picture {place}" for place in range(len(items))], size, notes if notes is not None else [], quiet
    )
    return found.numpy()


def quiet(done: int, every: int) -> None:
    pass


def folder(root: Path, classes: tuple[str, ...] = ("cat", "dog"), count: int = 10) -> Path:
    for place, name in enumerate(classes):
        for number in range(count):
            put(root / name / f"{number}.png", plain((10 * number, 100 * place % 256, 0)))
    return root


def images(data: object, **options: Any) -> tuple[Images, list[str]]:
    notes: list[str] = []
    return read_images(data, notes=notes, **options), notes


# ----------------------------------------------------------------- one picture


@pytest.mark.parametrize("ending", [".png", ".jpg", ".tif", ".bmp", ".gif", ".webp"])
def test_kinds_of_files(tmp_path: Path, ending: str) -> None:
    found = pixels(put(tmp_path / f"a{ending}", plain("blue")))
    assert found.shape == (1, 3, 16, 16)
    np.testing.assert_allclose(found[0, :, 8, 8], [0, 0, 255], atol=3)


def test_transparent_parts_are_white(tmp_path: Path) -> None:
    half = Image.new("RGBA", (16, 16), (255, 0, 0, 0))
    half.paste((255, 0, 0, 128), (8, 0, 16, 16))
    (found,) = pixels(content(half))
    assert found[:, 0, 0].tolist() == [255, 255, 255]
    np.testing.assert_allclose(found[:, 0, 15], [255, 127, 127], atol=1)


def test_palettes_and_grey_with_transparency() -> None:
    palette = plain("lime").convert("P")
    assert pixels(content(palette))[0, :, 0, 0].tolist() == [0, 255, 0]
    assert pixels(content(Image.new("LA", (16, 16), (0, 0))))[0, :, 0, 0].tolist() == [255, 255, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pictures_stand_upright(orientation: int) -> None:
    upright = np.arange(16 * 16, dtype=np.uint8).reshape(16, 16)
    as_taken = {  # EXIF 2.3, tag 0x0112: what was done to the picture before it was stored
        1: upright, 2: upright[:, ::-1], 3: upright[::-1, ::-1], 4: upright[::-1],
        5: upright.T, 6: np.rot90(upright), 7: np.rot90(upright, 2).T, 8: np.rot90(upright, -1),
    }[orientation]  # fmt: skip
    exif = Image.Exif()
    exif[0x0112] = orientation
    (found,) = pixels(content(Image.fromarray(np.ascontiguousarray(as_taken)), exif=exif), size=Size(1, 16, 16))
    assert np.array_equal(found[0], upright)


def test_sixteen_bits_keep_the_upper_eight() -> None:
    deep = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    (found,) = pixels(content(Image.fromarray(deep)), size=Size(1, 16, 16))
    np.testing.assert_array_equal(found[0], np.arange(256).reshape(16, 16))


def test_other_proportions_are_cut_around_the_middle() -> None:
    wide = Image.new("RGB", (48, 16), "white")
    wide.paste("black", (16, 0, 32, 16))
    assert pixels(content(wide)).max() <= 2


def test_one_pixel_becomes_a_picture() -> None:
    assert (pixels(content(plain("navy", size=(1, 1))))[0, 2] == 128).all()
    assert common_size([content(plain(size=(1, 1)))]) == Size(3, 8, 8)


def test_the_common_size_is_the_median_of_upright_sizes_and_grey_where_all_are_grey() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    tall = content(plain(size=(30, 20)), "JPEG", exif=exif)
    assert common_size([tall] * 3) == Size(3, 30, 20)
    grey = content(plain(0, "L", (40, 20)))
    assert common_size([grey] * 3) == Size(1, 20, 40)
    assert common_size([grey] * 3, 20) == Size(1, 10, 20)
    assert common_size([content(plain(size=(300, 150)))]) == Size(3, 32, 64)
    assert common_size([np.zeros((9, 11), np.uint8)]) == Size(1, 9, 11)


# ------------------------------------------------------------- broken pictures


def truncated() -> bytes:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    return content(noise)[:2000]


def bomb() -> bytes:
    """The header of a PNG of 20,000 × 20,000 pixels; what follows does not matter."""
    return content(plain(0, "1", (20_000, 20_000)))


BROKEN: dict[str, Callable[[], bytes]] = {
    "empty": lambda: b"",
    "truncated": truncated,
    "text": lambda: b"not a picture",
    "half a jpeg": lambda: content(plain(), "JPEG")[:20],
    "20,000 × 20,000": bomb,
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_file_is_named_and_passed_over(tmp_path: Path, name: str) -> None:
    folder(tmp_path, count=15)
    put(tmp_path / "cat" / "bröken.png", BROKEN[name]())
    found, notes = images(tmp_path)
    assert len(found.target) == 30
    (note,) = notes
    assert "1 of 31 pictures" in note
    assert "cat/bröken.png" in note


def test_a_huge_jpeg_is_decoded_at_a_smaller_scale() -> None:
    huge = content(plain("gray", "L", (20_000, 20_000)), "JPEG")
    (found,) = pixels(huge, size=Size(1, 16, 16))
    assert abs(int(found.max()) - 128) <= 1


def test_many_broken_files_are_an_error_with_examples(tmp_path: Path) -> None:
    folder(tmp_path)
    for name in ("x", "y"):
        put(tmp_path / "cat" / f"{name}.png", b"")
    with pytest.raises(DataError, match=r"2 of 22 pictures cannot be used, such as cat/x.png \(it is empty\), cat/y.png"):
        images(tmp_path)


def test_a_wrong_ending_does_not_matter(tmp_path: Path) -> None:
    put(tmp_path / "a.jpg", content(plain("blue"), "PNG"))
    assert pixels(tmp_path / "a.jpg")[0, :, 0, 0].tolist() == [0, 0, 255]


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser reads everything")
def test_files_that_may_not_be_read_are_named(tmp_path: Path) -> None:  # pragma: no cover
    folder(tmp_path, count=15)
    put(tmp_path / "cat" / "secret.png").chmod(0)
    _, notes = images(tmp_path)
    assert "cat/secret.png (permission denied)" in notes[0]


def test_refusals_of_the_system_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder(tmp_path, count=15)
    secret, opened = put(tmp_path / "cat" / "secret.png"), Path.open

    def guarded(path: Path, *arguments: Any, **options: Any) -> Any:
        if path == secret:
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **options)

    monkeypatch.setattr(Path, "open", guarded)
    _, notes = images(tmp_path)
    assert "cat/secret.png (permission denied)" in notes[0]


# ------------------------------------------------------------------- folders


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    found, notes = images(folder(tmp_path, ("Grüße", "日本"), 15))
    assert notes == []
    assert found.schema.classes == ("Grüße", "日本")
    assert found.names[0] == "Grüße/0.png"
    assert found.target.tolist() == [0] * 15 + [1] * 15
    assert found.pixels[16, :, 0, 0].tolist() == [10, 100, 0]
    assert sorted(torch.cat([found.split.train, found.split.validation, found.split.test]).tolist()) == list(range(30))


def test_nested_folders_belong_to_their_class(tmp_path: Path) -> None:
    folder(tmp_path)
    put(tmp_path / "cat" / "more" / "deep" / "x.png")
    put(tmp_path / "cat" / ".hidden" / "y.png")
    put(tmp_path / "cat" / "Thumbs.db", b"x")
    found, notes = images(tmp_path)
    assert len(found.target) == 21
    assert found.target[found.names.to_list().index("cat/more/deep/x.png")] == 0
    assert notes == [f"Files that are no pictures are passed over: 1 in {tmp_path}."]


def test_folders_for_parts(tmp_path: Path) -> None:
    for part, count in (("train", 12), ("val", 5), ("test", 4)):
        folder(tmp_path / part, count=count)
    found, _ = images(tmp_path)
    assert [len(rows) for rows in (found.split.train, found.split.validation, found.split.test)] == [24, 10, 8]
    assert found.schema.classes == ("cat", "dog")


def test_numbers_as_names_of_folders_are_classes(tmp_path: Path) -> None:
    found, notes = images(folder(tmp_path, tuple(str(label) for label in range(12)), 6))
    assert found.schema.task == "multiclass"
    assert notes == []


def test_loose_pictures_have_no_class(tmp_path: Path) -> None:
    put(folder(tmp_path) / "loose.png")
    found, notes = images(tmp_path)
    assert len(found.target) == 20
    assert "lie in no class's folder: 1, such as loose.png." in notes[0]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: folder(root, ("cat",)), "only one class or value, 'cat'"),
        (lambda root: put(root / "a.txt", b"x").parent, "There are no pictures in the folder"),
        (lambda root: put(root / "a.png").parent, "Put each class into a folder of its own"),
    ],
)
def test_folders_that_teach_nothing(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(DataError, match=message):
        images(make(tmp_path))


# ------------------------------------------------------------- tables, arrays


def test_a_table_of_paths(tmp_path: Path) -> None:
    folder(tmp_path / "photos")
    names = [f"{name}/{number}.png" for name in ("cat", "dog") for number in range(10)]
    frame = pl.DataFrame({"file": names, "animal": ["cat"] * 10 + ["dog"] * 10, "split": (["train"] * 7 + ["test"] * 3) * 2})
    frame.write_csv(tmp_path / "photos.csv")
    frame.write_csv(tmp_path / "photos" / "inside.csv")
    for table in (tmp_path / "photos.csv", tmp_path / "photos" / "inside.csv"):
        assert are_pictures(table)
        found, _ = images(table)
        assert found.schema.target == "animal"
        assert len(found.split.test) == 6
        assert found.names.to_list() == names


def test_bytes_in_a_table(tmp_path: Path) -> None:
    pictures = [content(plain((10 * number, 0, 0))) for number in range(20)]
    labels = ["a", "b"] * 10
    plain_bytes = pl.DataFrame({"image": pictures, "label": labels})
    records = pl.DataFrame({"image": [{"bytes": one, "path": f"{n}.png"} for n, one in enumerate(pictures)], "label": labels})
    for frame, second in ((plain_bytes, "1"), (records, "1.png")):
        frame.write_parquet(tmp_path / "pictures.parquet")
        for data in (tmp_path / "pictures.parquet", frame):
            assert are_pictures(data)
            found, _ = images(data)
            assert found.names[1] == second
            assert found.pixels[1, :, 0, 0].tolist() == [10, 0, 0]


@pytest.mark.parametrize("shape", [(40, 9, 8), (40, 9, 8, 1), (40, 9, 8, 3), (40, 3, 9, 8), (40, 1, 9, 8), (40, 9, 8, 4)])
def test_arrays_of_every_layout(tmp_path: Path, shape: tuple[int, ...]) -> None:
    x = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    if shape[-1] == 4:
        x[..., 3] = 255
    np.savez(tmp_path / "x.npz", x=x, y=np.arange(40) % 2, classes=["no", "yes"], split=["train"] * 30 + ["test"] * 10)
    assert are_pictures(tmp_path / "x.npz")
    found, _ = images(tmp_path / "x.npz")
    expected = x[:, None] if x.ndim == 3 else x if x.shape[1] in {1, 3} else np.moveaxis(x, -1, 1)[:, :3]
    np.testing.assert_array_equal(found.pixels.numpy(), expected)
    assert found.schema.classes == ("no", "yes")
    assert len(found.split.test) == 10
    again, _ = images({"x": x, "y": np.arange(40) % 2})
    assert torch.equal(again.pixels, found.pixels)


def test_a_second_source_to_test_on(tmp_path: Path) -> None:
    found, _ = images(folder(tmp_path / "one"), test=folder(tmp_path / "two", count=4))
    assert found.split.test.tolist() == list(range(20, 28))


def test_values_are_a_regression(tmp_path: Path) -> None:
    x = np.zeros((40, 8, 8), np.uint8)
    found, _ = images({"x": x, "y": np.linspace(0, 1, 40) + 0.05})
    assert found.schema.task == "regression"
    assert found.values is not None


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"x": np.zeros((4, 8, 8), np.uint8), "y": np.zeros(3)}, "label has shape"),
        ({"x": np.zeros((9, 8, 8), np.uint8)}, "There are no labels for the pictures"),
        ({"x": np.zeros((4, 8, 8, 8), np.uint8), "y": np.zeros(4)}, "1 to 4 channels"),
    ],
)
def test_arrays_that_do_not_fit(parts: dict[str, Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        images(parts)


def test_what_is_no_picture(tmp_path: Path) -> None:
    (tmp_path / "table.csv").write_text("a,b\n1,2\n")
    (tmp_path / "broken.npz").write_bytes(b"PK")
    np.savez(tmp_path / "series.npz", x=np.zeros((4, 2, 8), np.float32))
    for data in (
        tmp_path / "table.csv",
        tmp_path / "broken.npz",
        tmp_path / "series.npz",
        tmp_path / "none",
        {"a": [1]},
        3,
        None,
    ):
        assert not are_pictures(data)
    with pytest.raises(DataError, match="for tables"):
        read_data(folder(tmp_path / "photos"), None, kinds={"a": "number"}, notes=[])
    with pytest.raises(DataError, match="is for pictures"):
        read_data({"a": [1, 2], "b": [1, 2]}, "a", size=32, notes=[])
    with pytest.raises(DataError, match="--target"):
        read_data({"a": [1, 2], "b": [1, 2]}, None, notes=[])


def test_decoding_can_be_ended(tmp_path: Path) -> None:
    def stop(done: int, every: int) -> None:
        raise KeyboardInterrupt

    found = find_pictures(folder(tmp_path), None, None, [])
    with pytest.raises(KeyboardInterrupt):
        decoded(found.items, found.frame["path"].to_list(), SIZE, [], stop)
