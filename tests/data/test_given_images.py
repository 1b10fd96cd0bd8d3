"""However a picture is given, it has the same pixels."""

import io
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
from pictures import encoded, picture
from PIL import Image

from lift_jax.data import images
from lift_jax.data.given_images import GivenImages
from lift_jax.errors import UserError


def pixels(given, exif_rotate: bool = False) -> list[np.ndarray]:
    source = GivenImages(given)
    return [images.pixels(source[i], source.path(i), exif_rotate) for i in range(len(source))]


@pytest.fixture
def file(tmp_path) -> Path:
    """A photograph that is to be shown turned."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "turned.jpg"
    Image.fromarray(picture(24, 40)).save(path, exif=exif, quality=95)
    return path


@pytest.mark.parametrize("exif_rotate", [False, True])
def test_path_content_and_pillow_image_are_the_same(file, exif_rotate):
    expected = np.asarray(Image.open(file).convert("RGB"))
    expected = np.rot90(expected, -1) if exif_rotate else expected
    content = file.read_bytes()
    with open(file, "rb") as opened, Image.open(file) as image:
        one_way = [
            str(file), file, content, bytearray(content), memoryview(content), io.BytesIO(content), opened, image,
            {"bytes": content, "path": None}, {"bytes": None, "path": str(file)}, {"path": "no", "bytes": content},
        ]  # fmt: skip
        for given in [*one_way, one_way, tuple(one_way), (each for each in one_way)]:
            found = pixels(given, exif_rotate)
            assert len(found) == (1 if any(given is each for each in one_way) else len(one_way))
            for each in found:
                np.testing.assert_array_equal(each, expected)


def test_a_file_may_be_given_twice(file):
    opened = io.BytesIO(file.read_bytes())
    first, second = pixels([opened, opened])
    np.testing.assert_array_equal(first, second)
    assert len(pixels(opened)) == 1
    with Image.open(file) as image:
        first, second = pixels([image, image])
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "I;16", "F", "1"])
def test_modes_of_pillow(mode):
    image = Image.fromarray(picture(12, 10))
    if mode in ("I;16", "F"):
        image = Image.fromarray(np.asarray(image.convert("L")).astype({"I;16": np.uint16, "F": np.float32}[mode]) * 3)
    else:
        image = image.convert(mode)
    buffer = io.BytesIO()
    image.save(buffer, "TIFF")
    np.testing.assert_array_equal(pixels(image)[0], pixels(buffer)[0])


def test_an_image_of_pillow_stays_as_it_is():
    image = Image.fromarray(picture(12, 10)).quantize(16)
    image.info["transparency"] = bytes(16)
    pixels(image)
    assert image.info["transparency"] == bytes(16) and image.mode == "P"


class TestArrays:
    LIBRARIES = (np.asarray, jnp.asarray, pytest.param("torch", id="torch"))

    @staticmethod
    def made(library, array: np.ndarray):
        return pytest.importorskip("torch").from_numpy(array.copy()) if library == "torch" else library(array)

    @pytest.mark.parametrize("library", LIBRARIES)
    def test_of_any_library(self, library):
        colours = np.stack([picture(9, 11, seed) for seed in range(2)])
        greys = np.stack([picture(9, 11, seed)[..., 0] for seed in range(5)])
        spread = np.repeat(greys[..., None], 3, axis=-1)
        for given, expected in [
            (colours, colours), (colours[0], colours[:1]), (greys[0], spread[:1]), (greys, spread),
            (colours[:, :3, :3], colours[:, :3, :3]),
        ]:  # fmt: skip
            np.testing.assert_array_equal(pixels(self.made(library, given)), expected)
        several = pixels([self.made(library, each) for each in (colours[0], greys[0])])
        np.testing.assert_array_equal(several, [colours[0], spread[0]])

    @pytest.mark.parametrize("library", LIBRARIES)
    @pytest.mark.parametrize(
        ("array", "words"),
        [
            (np.zeros((3, 20, 30), np.uint8), r"array of uint8 \[3, 20, 30\]; .*move the channels to the end"),
            (np.zeros((2, 3, 20, 30), np.uint8), r"Image 0 is an array of uint8 \[3, 20, 30\]; .*move the channels"),
            (np.zeros((1, 20, 30), np.uint8), r"\[1, 20, 30\]; images are uint8 \[height, width, 3\]"),
            (np.zeros((20, 30, 4), np.uint8), r"\[20, 30, 4\]; images are uint8 \[height, width, 3\]"),
            (np.zeros((20, 30, 2), np.uint8), r"\[20, 30, 2\]; images are uint8 \[height, width, 3\]"),
            (np.zeros((20, 30, 3), np.float32), r"array of float32 \[20, 30, 3\]; .*make values from 0 to 1 integers"),
            (np.zeros((3, 20, 30), np.float32), r"channels to the end.*values from 0 to 1 integers"),
            (np.zeros((20, 30, 3), np.int32), r"array of int32 \[20, 30, 3\]"),
            (np.zeros((20, 30), np.bool_), r"array of bool \[20, 30\]"),
            (np.zeros((0, 30, 3), np.uint8), r"array of uint8 \[0, 30, 3\]"),
            (np.zeros((), np.uint8), r"array of uint8 \[\]"),
            (np.zeros((2, 2, 9, 9, 3), np.uint8), r"Image 0 is an array of uint8 \[2, 2, 9, 9, 3\]"),
        ],
    )
    def test_that_could_be_read_otherwise_are_refused(self, library, array, words):
        with pytest.raises(UserError, match=words):
            pixels(self.made(library, array))

    def test_a_tensor_that_is_none_for_others(self):
        torch = pytest.importorskip("torch")
        with pytest.raises(UserError, match=r"Image 1, a Tensor, does not become an array: .*detach"):
            pixels([picture(4, 4), torch.zeros(4, 4, 3, requires_grad=True)])

    def test_of_paths(self, file):
        for names in np.array([str(file)] * 2), np.array([file] * 2, object):
            assert len(pixels(names)) == 2


class TestWrong:
    @pytest.mark.parametrize(
        ("given", "words"),
        [
            (3, "int is no image; give PIL images"),
            (None, "NoneType is no image"),
            ([None], r"Image 0 is an array of object \[\]"),
            ([[1, 2], [3, 4]], r"Image 0 is an array of int64 \[2\]"),
            (b"no image", r"image 0 is no image of a kind that is read"),
            (b"", "image 0 is an empty file"),
            (io.StringIO("text"), "Image 0 is a file opened as text; open it with the mode 'rb'"),
            ({"image": 1}, r"Image 0 is a dictionary with \['image'\]; give its 'bytes' or its 'path'"),
            ("none.png", "none.png cannot be read from the current folder"),
            ("", "Image 0 is empty; write the name of a file"),
            ("a\0b.png", "Image 0 is .*NUL character"),
            (["https://example.org/a.jpg"], "Image 0 is https://example.org/a.jpg, which is on the web; download it"),
        ],
    )
    def test_things(self, given, words):
        with pytest.raises(UserError, match=words):
            pixels(given)

    def test_closed_and_cut_images(self, file):
        image = Image.open(file)
        image.close()
        with pytest.raises(UserError, match=r"Image 0 is damaged, truncated or closed"):
            pixels(image)
        with pytest.raises(UserError, match=r"Image 1 is damaged, truncated or closed"):
            pixels([picture(4, 4), Image.open(io.BytesIO(encoded(picture(64, 64))[:900]))])
        opened = open(file, "rb")  # noqa: SIM115
        opened.close()
        with pytest.raises(UserError, match=r"Image 0 is a file that cannot be read: .*closed file"):
            pixels(opened)

    def test_what_is_no_file(self, tmp_path):
        os.mkfifo(tmp_path / "pipe.jpg")
        for name, what in ("pipe.jpg", "a pipe"), (".", "a folder"), ("/dev/zero", "a device"):
            with pytest.raises(UserError, match=rf"is {what}, not a file; name a file"):
                pixels(os.path.join(tmp_path, name))


def test_home(file, monkeypatch):
    monkeypatch.setenv("HOME", str(file.parent))
    assert len(pixels("~/turned.jpg")) == 1


def test_a_file_that_is_too_large_is_not_read(tmp_path):
    with open(tmp_path / "huge.tif", "wb") as huge:
        huge.truncate(3 << 30)
    with pytest.raises(
        UserError, match=r"huge\.tif has 3,221,225,472 bytes, more than the 2,147,483,648 that are read"
    ):
        pixels(tmp_path / "huge.tif")
