"""Pictures that are damaged, huge, misnamed or no pictures."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import numpy as np
from PIL import Image

from lift_jax.bench.abuse.cases import Case, Grammar, Setting
from lift_jax.bench.abuse.image_folders import (
    a_folder_with_more,
    a_picture_of_another_suffix,
    a_split_of_another_name,
)
from lift_jax.bench.abuse.setting import encoded, picture
from lift_jax.data import images
from lift_jax.data.given_images import GivenImages
from lift_jax.data.reading import read_bytes

Answer = tuple[tuple[int, ...], int]


def digest(pixels: np.ndarray) -> Answer:
    """Gives the shape and a checksum of pixels."""
    return tuple(map(int, pixels.shape)), zlib.crc32(np.ascontiguousarray(pixels, np.uint8).tobytes())


def _pixels_of(content: bytes) -> np.ndarray:
    """Decodes an ordinary file by Pillow alone."""
    with Image.open(io.BytesIO(content)) as image:
        return np.asarray(image.convert("RGB"))


def _file(name: str, content: bytes) -> Callable[[Path], Answer]:
    def attempt(place: Path) -> Answer:
        (place / name).write_bytes(content)
        return digest(images.decode(read_bytes(str(place / name)), str(place / name)))

    return attempt


def _case(says: str, name: str, content: bytes, good: bytes, form: str) -> Case:
    """Makes a file that is refused, or whose pixels are those of the good one."""
    right = digest(_pixels_of(good))
    return Case(
        says,
        _file(name, content),
        (right,),
        (name,),
        valid=Case(f"a {form}", _file(f"good.{form.lower()}", good), (right,)),
    )


_FORMS: dict[str, dict[str, Any]] = {
    "PNG": {}, "JPEG": {"quality": 90}, "GIF": {}, "TIFF": {}, "WEBP": {"lossless": True}, "BMP": {}, "PPM": {},
}  # fmt: skip


def a_file_cut_short(random: Random, setting: Setting) -> Case:
    """Cuts a file short."""
    form = random.choice(list(_FORMS))
    good = encoded(picture(0), form, **_FORMS[form])
    length = random.randrange(len(good))
    return _case(f"{length} of {len(good)} bytes of a {form}", f"spoilt.{form.lower()}", good[:length], good, form)


def a_png_with_wrong_bytes(random: Random, setting: Setting) -> Case:
    """Changes a few bytes of a PNG, which has checksums."""
    good = encoded(picture(0), "PNG")
    spoilt = bytearray(good)
    for _ in range(random.randrange(1, 4)):
        spoilt[random.randrange(len(spoilt))] ^= random.randrange(1, 256)
    return _case("a PNG with wrong bytes", "spoilt.png", bytes(spoilt), good, "PNG")


def a_wrong_suffix(random: Random, setting: Setting) -> Case:
    """Gives a good file a name that says another format."""
    form, suffix = (
        random.choice(list(_FORMS)),
        random.choice(["jpg", "PNG", "tif", "jfif", "heic", "txt", "raw", "eps", "", "ico"]),
    )
    good = encoded(picture(0), form, **_FORMS[form])
    return _case(f"a {form} called .{suffix}", f"spoilt.{suffix}", good, good, form)


def no_picture(random: Random, setting: Setting) -> Case:
    """Calls another kind of file as a picture is called."""
    postscript = (
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\n%%EndComments\n0 0 20 20 rectfill\nshowpage\n%%EOF\n"
    )
    cards = ["SIMPLE  =                    T", "BITPIX  =                    8", "NAXIS   =                    2"]
    cards += ["NAXIS1  =                    4", "NAXIS2  =                    4", "END"]
    fits = "".join(card.ljust(80) for card in cards).ljust(2880).encode() + bytes(2880)
    contents = {
        "PostScript": postscript,
        "FITS": fits,
        "PDF": b"%PDF-1.4\n1 0 obj<<>>endobj\ntrailer<<>>\n%%EOF",
        "SVG": b"<svg xmlns='http://www.w3.org/2000/svg' width='4' height='4'/>",
        "a web page": b"<!DOCTYPE html><html><body>404</body></html>",
        "nothing": b"",
        "zeros": bytes(5000),
        "text": b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12345\n",
        "a zip": b"PK\x03\x04" + bytes(100),
        "XPM": b'/* XPM */\nstatic char *x[] = {\n"2 2 1 1",\n"a c #000000",\n"aa",\n"aa"\n};\n',
        "random bytes": random.randbytes(3000),
        "a JPEG's first bytes": b"\xff\xd8\xff\xe0" + random.randbytes(300),
        "WMF": b"\xd7\xcd\xc6\x9a" + bytes(60),
        "MPEG": b"\x00\x00\x01\xb3\x01\x00\x10" + bytes(40),
    }
    what, suffix = random.choice(list(contents)), random.choice(["jpg", "png", "tif", "webp", "gif"])
    name, good = f"spoilt.{suffix}", encoded(picture(0), "PNG")
    valid = Case("a PNG", _file("good.png", good), (digest(picture(0)),))
    return Case(f"{what} called .{suffix}", _file(name, contents[what]), (), (name,), valid=valid)


def _png(width: int, height: int, depth: int = 8, rows: bool = False) -> bytes:
    """Makes a grey PNG whose header says the size; its rows are there only if they are asked for."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer, row = zlib.compressobj(1), b"\0" * (1 + width * depth // 8 if rows else 10)
    data = b"".join(packer.compress(row) for _ in range(height if rows else 1)) + packer.flush()
    header = struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def a_bomb(random: Random, setting: Setting) -> Case:
    """Makes a small file that would take much memory."""
    width, height = random.choice(
        [(20_000, 20_000), (2**31 - 1, 1), (100_000, 60_000), (1, 2**31 - 1), (2**31 - 1, 2**31 - 1)]
    )
    way = random.choice(["PNG", "BMP", "PPM", "TIFF", "GIF", "ICO", "ICNS", "16 bits", "text"])
    good = encoded(picture(0), "PNG")
    if way == "PNG":
        content = _png(width, height)
    elif way == "BMP":
        content = (
            b"BM"
            + struct.pack("<IHHIIiiHHIIiiII", 100, 0, 0, 54, 40, width, height, 1, 24, 0, 0, 0, 0, 0, 0)
            + bytes(99)
        )
    elif way == "PPM":
        content = f"P6\n{width} {height}\n255\n".encode() + bytes(100)
    elif way == "TIFF":
        tags = {256: width, 257: height, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: height, 279: 2**31 - 1}
        entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags.items())
        content = b"II*\0" + struct.pack("<I", 8) + struct.pack("<H", len(tags)) + entries + bytes(40)
    elif way == "GIF":
        content = b"GIF89a" + struct.pack("<HHBBB", 65535, 65535, 0x80, 0, 0) + bytes(6)
        content += b"\x2c" + struct.pack("<HHHHB", 0, 0, 65535, 65535, 0) + b"\x02\x02\x44\x01\0;"
    elif way in ("ICO", "ICNS"):
        inner = _png(16_000, 16_000, rows=True)
        icon = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, len(inner), 22) + inner
        block = b"ic10" + struct.pack(">I", len(inner) + 8) + inner
        content = icon if way == "ICO" else b"icns" + struct.pack(">I", len(block) + 8) + block
    elif way == "16 bits":
        content = _png(13_400, 13_400, 16, rows=True)
    else:
        packed = zlib.compress(bytes(300 << 20), 9)
        data = b"Comment\0\0" + packed
        text = struct.pack(">I", len(data)) + b"zTXt" + data + struct.pack(">I", zlib.crc32(b"zTXt" + data))
        content = good[:33] + text + good[33:]
    right = (digest(picture(0)),) if way == "text" else ()
    if way == "16 bits":
        right = (((13_400, 13_400, 3), zlib.crc32(bytes(13_400**2 * 3))),)  # it may be read, within the memory
    valid = Case("a PNG", _file("good.png", good), (digest(picture(0)),))
    return Case(f"a bomb of the kind {way}", _file("spoilt.png", content), right, ("spoilt.png",), valid=valid)


def pixels_that_are_no_numbers(random: Random, setting: Setting) -> Case:
    """Makes a TIFF of floating-point pixels, one of which is not finite or says that there are no data."""
    grey = picture(0)[..., 0].astype(np.float32) / 255
    lowest, highest = np.unravel_index(grey.argmin(), grey.shape), np.unravel_index(grey.argmax(), grey.shape)
    spots = [(y, x) for y in range(4) for x in range(4) if (y, x) not in (lowest, highest)]
    value = random.choice([np.nan, np.inf, -np.inf, -9999.0])
    spoilt = grey.copy()
    spot = random.choice(spots)
    spoilt[spot] = value

    def attempt(values: np.ndarray, name: str, **options: Any) -> Callable[[Path], Answer]:
        def given(place: Path) -> Answer:
            Image.fromarray(values).save(place / name, **options)
            found = images.decode(read_bytes(str(place / name)), str(place / name)).copy()
            found[spot] = 0
            return digest(found)

        return given

    scaled = np.round((grey - grey.min()) * (255 / float(np.ptp(grey)))).astype(np.uint8)
    right = np.repeat(scaled[..., None], 3, axis=-1)
    right[spot] = 0
    no_data = {"tiffinfo": {42113: "-9999"}} if value == -9999 else {}
    valid = Case(f"a TIFF of finite numbers but for {spot}", attempt(grey, "good.tif"), (digest(right),))
    return Case(
        f"a TIFF with {value}", attempt(spoilt, "spoilt.tif", **no_data), (digest(right),), ("spoilt.tif",), valid=valid
    )


def another_mode(random: Random, setting: Setting) -> Case:
    """Makes a picture of another colour mode, which has the pixels that Pillow gives it."""
    mode = random.choice(["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr", "I;16", "I", "F"])
    image = Image.fromarray(picture(0))
    if mode in ("I;16", "I"):
        values = picture(0)[..., 0].astype(np.uint16) * 257
        image = Image.fromarray(values if mode == "I;16" else values.astype(np.int32))
        expected = np.repeat(picture(0)[..., :1], 3, axis=-1)
    elif mode == "F":
        grey = picture(0)[..., 0].astype(np.float32)
        image = Image.fromarray(grey)
        scaled = np.round((grey - grey.min()) * (255 / float(np.ptp(grey)))).astype(np.uint8)
        expected = np.repeat(scaled[..., None], 3, axis=-1)
    else:
        image = image.convert(mode)
        expected = np.asarray(image.convert("RGB"))
    form = "PNG" if mode in ("1", "L", "LA", "P", "RGBA", "I;16") else "TIFF"
    file = io.BytesIO()
    image.save(file, form)
    right, name = digest(expected), f"picture.{form.lower()}"
    return Case(f"a {form} of mode {mode}", _file(name, file.getvalue()), (right,), (name,), valid=Case(
        "a PNG", _file("good.png", encoded(picture(0), "PNG")), (digest(picture(0)),)
    ))  # fmt: skip


def a_given_object(random: Random, setting: Setting) -> Case:
    """Gives an array or object beside a good picture."""
    good = picture(0)
    bad: dict[str, Any] = {
        "float32": good.astype(np.float32), "int64": good.astype(np.int64) * 1000, "five bands": np.zeros((4, 4, 5),
        np.uint8),
        "no rows": np.zeros((0, 4, 3), np.uint8), "one axis": np.zeros(12, np.uint8),
        "five axes": np.zeros((1, 1, 4, 4, 3), np.uint8),
        "NaN": np.full((4, 4, 3), np.nan), "text": np.array([["a", "b"]]), "objects": np.array([[None, {}]], object),
        "None": None, "a number": 5, "a dict": {"image": good}, "complex": good.astype(complex), "no bytes": b"",
        "bytes of nothing": b"abc", "negative": good.astype(np.int64) - 300,
    }  # fmt: skip
    what = random.choice(list(bad))

    def attempt(second: Any) -> Callable[[Path], Answer]:
        def given(place: Path) -> Answer:
            source = GivenImages([good, second])
            return digest(np.asarray(images.pixels(source[1], source.path(1))))

        return given

    valid = Case("two arrays", attempt(picture(1)), (digest(picture(1)),))
    return Case(f"an array or object: {what}", attempt(bad[what]), (), ("mage 1",), valid=valid)


def a_turned_photograph(random: Random, setting: Setting) -> Case:
    """Gives a photograph with an EXIF tag in one of the ways in which callers give images."""
    tag, way = random.randrange(0, 12), random.choice(["path", "image", "bytes"])
    exif = Image.Exif()
    exif[0x0112] = tag
    # What each orientation asks for, in terms of axes.
    turned = {
        2: lambda x: x[:, ::-1], 3: lambda x: x[::-1, ::-1], 4: lambda x: x[::-1], 5: lambda x: x.transpose(1, 0, 2),
        6: lambda x: np.rot90(x, -1), 7: lambda x: np.rot90(x, 2).transpose(1, 0, 2), 8: lambda x: np.rot90(x),
    }.get(tag, lambda x: x)  # fmt: skip
    content = encoded(picture(0), "PNG", exif=exif)

    def attempt(data: bytes, how: str) -> Callable[[Path], Answer]:
        def given(place: Path) -> Answer:
            (place / "photo.png").write_bytes(data)
            item: Any = {"path": place / "photo.png", "image": Image.open(io.BytesIO(data)), "bytes": data}[how]
            source = GivenImages([item])
            return digest(np.asarray(images.pixels(source[0], source.path(0), exif_rotate=True)))

        return given

    valid = Case("a PNG that is not turned", attempt(encoded(picture(0), "PNG"), "path"), (digest(picture(0)),))
    return Case(
        f"orientation {tag} of a {way}",
        attempt(content, way),
        (digest(turned(picture(0))),),
        ("photo.png",),
        valid=valid,
    )


GRAMMAR = Grammar(
    "images",
    (
        a_file_cut_short,
        no_picture,
        a_folder_with_more,
        a_bomb,
        a_wrong_suffix,
        pixels_that_are_no_numbers,
        a_given_object,
        a_picture_of_another_suffix,
        a_png_with_wrong_bytes,
        another_mode,
        a_split_of_another_name,
        a_turned_photograph,
    ),
)
