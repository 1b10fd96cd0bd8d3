import io
import struct
import zlib

import numpy as np
import pytest
from pictures import encoded, picture
from PIL import Image
from sklearn.datasets import load_sample_image

from lift_jax.data import images
from lift_jax.errors import UserError


def saved(image: Image.Image, form: str, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, form, **options)
    return buffer.getvalue()


def test_png_is_exact():
    pixels = picture(30, 40)
    np.testing.assert_array_equal(images.decode(encoded(pixels, "PNG")), pixels)


@pytest.mark.parametrize("quality", [30, 75, 95])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpeg_is_exactly_what_pillow_decodes(quality, subsampling, progressive, mode):
    photograph = Image.fromarray(load_sample_image("china.jpg")[101:252, 33:200]).convert(mode)
    options = {} if mode == "L" else {"subsampling": subsampling}
    data = saved(photograph, "JPEG", quality=quality, progressive=progressive, **options)
    np.testing.assert_array_equal(images.decode(data), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "RGBA", "CMYK"])
def test_other_modes_become_rgb(mode):
    original = Image.fromarray(picture(30, 40)).convert(mode)
    form = "TIFF" if mode == "CMYK" else "PNG"
    result = images.decode(saved(original, form))
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result, np.asarray(original.convert("RGB")))


def test_cmyk_jpeg_keeps_its_colours():
    pixels = np.zeros((16, 16, 3), np.uint8)
    pixels[..., 0] = 200
    result = images.decode(saved(Image.fromarray(pixels).convert("CMYK"), "JPEG", quality=95))
    assert np.abs(result.astype(int) - pixels).max() < 12


def test_sixteen_bit_grey_is_scaled_not_clipped():
    values = np.linspace(0, 65535, 256).astype(np.uint16).reshape(16, 16)
    result = images.decode(saved(Image.fromarray(values), "PNG"))
    np.testing.assert_array_equal(result, np.repeat(np.arange(256, dtype=np.uint8).reshape(16, 16, 1), 3, -1))


def test_exif_rotation_is_an_option():
    pixels = picture(20, 30)
    exif = Image.Exif()
    exif[0x0112] = 6  # to be shown turned clockwise by a quarter
    data = saved(Image.fromarray(pixels), "PNG", exif=exif)
    np.testing.assert_array_equal(images.decode(data), pixels)
    np.testing.assert_array_equal(images.decode(data, exif_rotate=True), np.rot90(pixels, -1))


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("share", [0.3, 0.7, 0.95])
def test_truncated_files_are_named(form, share):
    data = encoded(picture(64, 64), form)
    with pytest.raises(UserError, match=r"broken\.img is (damaged or truncated|no image)"):
        images.decode(data[: int(len(data) * share)], "broken.img")


def test_empty_files_and_other_files_are_named():
    with pytest.raises(UserError, match=r"none\.jpg is an empty file"):
        images.decode(b"", "none.jpg")
    with pytest.raises(UserError, match=r"page\.jpg is no image"):
        images.decode(b"<html>404</html>" * 20, "page.jpg")


def test_decompression_bombs_are_refused_before_they_are_decoded():
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    )
    with pytest.raises(UserError, match=r"bomb\.png has 20000 x 20000 pixels"):
        images.decode(b"\x89PNG\r\n\x1a\n" + chunks, "bomb.png")
