import io
import struct
import subprocess
import sys
import threading
import time
import zlib

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import encoded, picture
from PIL import Image, PngImagePlugin, TiffImagePlugin
from sklearn.datasets import load_sample_image

from lift_jax.data import image_kinds, images, jpeg_xl
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


def test_a_png_whose_pixels_are_not_those_of_its_checksum_is_named():
    data = encoded(picture(64, 64), "PNG")
    assert np.array_equal(images.decode(data), picture(64, 64))
    start = data.index(b"IDAT") + 4
    for place in range(start, data.index(b"IEND") - 4, 97):
        broken = data[:place] + bytes([data[place] ^ 0x41]) + data[place + 1 :]
        with pytest.raises(UserError, match=r"broken\.png is damaged or truncated"):
            images.decode(broken, "broken.png")
    assert np.array_equal(images.decode(data[: data.index(b"IEND") - 4]), picture(64, 64))  # no pixel is missing


def test_empty_files_and_other_files_are_named():
    with pytest.raises(UserError, match=r"none\.jpg is an empty file"):
        images.decode(b"", "none.jpg")
    with pytest.raises(UserError, match=r"page\.jpg is a web page, not a photograph; download the image itself"):
        images.decode(b"<html>404</html>" * 20, "page.jpg")
    with pytest.raises(
        UserError, match=r"words\.jpg is no image of a kind that is read \(JPEG, .* b'some words'; conv"
    ):
        images.decode(b"some words", "words.jpg")


def png(width: int, height: int, rows: int) -> bytes:
    """A grey PNG whose header promises that size, with the data of some rows."""
    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    chunks = b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in [(b"IHDR", header), (b"IDAT", zlib.compress(bytes(rows * (width + 1)))), (b"IEND", b"")]
    )
    return b"\x89PNG\r\n\x1a\n" + chunks


def test_decompression_bombs_are_refused_before_they_are_decoded():
    with pytest.raises(UserError, match=r"bomb\.png has 20000 x 20000 pixels"):
        images.decode(png(20_000, 20_000, 1), "bomb.png")
    with pytest.raises(UserError, match=r"bomb\.png has 20000 x 20000 pixels"):
        images.pixels(PngImagePlugin.PngImageFile(io.BytesIO(png(20_000, 20_000, 1))), "bomb.png")


class TestKinds:
    @pytest.mark.parametrize(
        ("content", "words"),
        [
            (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 20 20\nshowpage\n", r"an EPS \(PostScript\) file, not a ph"),
            (b"\xc5\xd0\xd3\xc6" + bytes(40), r"an EPS \(PostScript\) file, .*; convert it to PNG or JPEG"),
            (
                struct.pack("<HHHBBBBHHII", 0, 1, 1, 16, 16, 0, 0, 1, 32, 99, 22) + png(20_000, 20_000, 1),
                r"an icon \(ICO",
            ),
            (b"icns\0\0\0\x20", r"an icon \(ICNS\)"),
            (b"SIMPLE  =                    T", "a FITS file"),
            (b"%PDF-1.7", "a PDF document"),
            (b"8BPS\0\1", "a Photoshop file"),
            (b'<?xml version="1.0"?>\n<!-- x -->\n<svg xmlns="">', r"a drawing \(SVG\)"),
            (b"\0\0\0\x20ftypisom\0\0\2\0isomiso2", "a video"),
            (b"\0\0\0\x18ftypcrx \0\0\0\1crx isom", "a camera's raw file"),
            (b"version https://git-lfs.github.com/spec/v1\noid", "a Git LFS pointer, .* git lfs pull"),
            (bytes(128) + b"DICM", "a DICOM file"),
        ],
    )
    def test_files_that_are_no_photographs_say_what_they_are(self, content, words):
        with pytest.raises(UserError, match=rf"^x\.jpg is {words}"):
            images.decode(content, "x.jpg")

    def test_no_decoder_of_another_kind_is_reached(self):
        code = (
            "import sys; from lift_jax.data import images; from lift_jax.errors import UserError\n"
            "for data in (b'%!PS-Adobe-3.0\\n%%BoundingBox: 0 0 9 9\\n', b'SIMPLE  =   T', b'nothing' * 99):\n"
            "    try: images.decode(data)\n"
            "    except UserError: pass\n"
            "    else: raise SystemExit('accepted')\n"
            "from PIL import Image; print(Image.MAX_IMAGE_PIXELS, 'PIL.EpsImagePlugin' in sys.modules)"
        )
        run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=None)
        assert run.stdout.split() == ["89478485", "False"]

    def test_a_jpeg_of_several_pictures_gives_the_first(self):
        first, second = (Image.fromarray(picture(24, 24, seed)) for seed in (0, 1))
        data = saved(first, "MPO", save_all=True, append_images=[second])
        np.testing.assert_array_equal(images.decode(data), images.decode(saved(first, "JPEG")))

    @pytest.mark.parametrize(
        ("form", "options"), [("GIF", {}), ("TIFF", {}), ("WEBP", {"lossless": True}), ("PNG", {})]
    )
    def test_of_several_frames_the_first_is_taken(self, form, options):
        first, second = (Image.fromarray(picture(24, 24, seed)).quantize(64).convert("RGB") for seed in (0, 1))
        data = saved(first, form, save_all=True, append_images=[second], **options)
        np.testing.assert_array_equal(images.decode(data), np.asarray(first))

    @pytest.mark.parametrize(("module", "form"), [("pillow_heif", "HEIF"), ("pillow_jxl", "JXL")])
    def test_plugins(self, module, form):
        plugin = pytest.importorskip(module)
        options = {}
        if form == "HEIF":
            plugin.register_heif_opener()
            options = {"chroma": 444}
        pixels = picture(40, 56)
        found = images.decode(saved(Image.fromarray(pixels), form, quality=95, **options), "x")
        assert found.shape == pixels.shape and np.abs(found.astype(int) - pixels).mean() < 4

    def test_without_its_plugin_a_kind_names_it(self):
        for data, kind, package in [
            (b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", image_kinds.HEIF, "pillow-heif"),
            (b"\xff\x0a" + bytes(30), image_kinds.JPEG_XL, "pillow-jxl-plugin"),
        ]:
            words = f"pip install {package} to read it" if kind.open is None else "is damaged or truncated"
            with pytest.raises(UserError, match=words):
                images.decode(data, "x")

    @pytest.mark.parametrize(
        ("header", "shape"),
        [
            ("ff0acb4052dc0800", (48, 64)),  # sides in eights, and a ratio
            ("ff0a581990143702", (300, 300)),  # square
            ("ff0aba2105497123", (1080, 1920)),  # sixteen to nine
            ("ff0a40017080a4b8", (41, 57)),  # any sides
        ],
    )
    def test_the_size_of_a_jpeg_xl_image_is_in_its_header(self, header, shape):
        bare = bytes.fromhex(header)
        assert jpeg_xl.shape(bare) == shape
        start = bytes.fromhex("0000000c4a584c200d0a870a00000014667479706a786c20000000006a786c20")
        assert jpeg_xl.shape(start + struct.pack(">I4s", 8 + len(bare), b"jxlc") + bare) == shape
        parts = b"".join(
            struct.pack(">I4sI", 12 + len(part), b"jxlp", i) + part for i, part in enumerate([bare[:3], bare[3:]])
        )
        assert jpeg_xl.shape(start + parts) == shape

    @pytest.mark.parametrize("data", [b"", bytes(60), b"\0\0\0\1jxlc" + bytes(4), b"\0\0\0\x08free" * 3])
    def test_what_has_no_jpeg_xl_header(self, data):
        with pytest.raises(ValueError, match="no JPEG XL header"):
            jpeg_xl.shape(data)


class TestWidePixels:
    def tiff(self, values: np.ndarray, nodata: str = "") -> bytes:
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        if nodata:
            tags[42113] = nodata
        return saved(Image.fromarray(values), "TIFF", tiffinfo=tags)

    @pytest.fixture
    def values(self):
        return np.random.default_rng(0).normal(3, 2, (20, 30)).astype(np.float32)

    @staticmethod
    def stretched(values: np.ndarray) -> np.ndarray:
        wide = values.astype(np.float64)
        return np.round((wide - wide.min()) * (255 / (wide.max() - wide.min()))).astype(np.uint8)

    def test_floats_are_stretched_from_their_range(self, values):
        np.testing.assert_array_equal(images.decode(self.tiff(values))[..., 1], self.stretched(values))
        assert not images.decode(self.tiff(np.full((4, 4), 7, np.float32))).any()

    @pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, -9999, -32768, 3.4028235e38, -3.4028235e38])
    def test_what_was_not_measured_is_black_and_changes_nothing_else(self, values, bad):
        spoilt, hole = values.copy(), np.zeros(values.shape, bool)
        hole[3, 3:9] = True
        spoilt[hole] = bad
        found = images.decode(self.tiff(spoilt))[..., 0]
        low, high = values[~hole].min().astype(float), values[~hole].max().astype(float)
        expected = np.round((values[~hole].astype(float) - low) * (255 / (high - low)))
        np.testing.assert_array_equal(found[~hole], expected)
        assert not found[hole].any()

    def test_a_declared_nodata_value(self, values):
        spoilt = values.copy()
        spoilt[0] = -1.1
        found = images.decode(self.tiff(spoilt, "-1.1"))[..., 0]
        np.testing.assert_array_equal(found[1:], self.stretched(values[1:]))
        assert not found[0].any()
        np.testing.assert_array_equal(images.decode(self.tiff(spoilt))[..., 0], self.stretched(spoilt))
        np.testing.assert_array_equal(images.decode(self.tiff(spoilt, "none"))[..., 0], self.stretched(spoilt))

    def test_depths_that_reach_a_usual_sentinel_are_measured(self):
        depths = np.linspace(-9999, 500, 600, dtype=np.float32).reshape(20, 30)
        np.testing.assert_array_equal(images.decode(self.tiff(depths))[..., 0], self.stretched(depths))

    @pytest.mark.parametrize("value", [np.nan, -9999.0])
    def test_nothing_measured(self, value):
        with pytest.raises(UserError, match=r"map\.tif has no pixel with a finite value"):
            images.decode(self.tiff(np.full((8, 8), value, np.float32)), "map.tif")

    def test_integers(self):
        values = np.arange(600, dtype=np.int32).reshape(20, 30)
        for scale, expected in [(100, values * 100 / 257), (10_000, values * 10_000 * 255 / (599 * 10_000))]:
            found = images.decode(self.tiff(values * scale))[..., 0]
            np.testing.assert_array_equal(found, np.round(expected))
        np.testing.assert_array_equal(images.decode(self.tiff(values % 256))[..., 0], values % 256)

    def test_sixteen_bits_are_turned_too(self):
        values = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
        exif = Image.Exif()
        exif[0x0112] = 6
        data = saved(Image.fromarray(values), "PNG", exif=exif)
        np.testing.assert_array_equal(images.decode(data, exif_rotate=True), np.rot90(images.decode(data), -1))

    @pytest.mark.parametrize(
        ("values", "tags", "words"),
        [
            (np.zeros((8, 8, 5), np.uint8), {}, "5 bands of 8-bit integers"),
            (np.zeros((8, 8, 3), np.float32), {339: (3,) * 3}, "3 bands of 32-bit floats"),
            (np.zeros((8, 8, 1), np.float64), {339: (3,)}, "1 band of 64-bit floats"),
            (np.zeros((8, 8, 1), np.int8), {339: (2,)}, "1 band of 8-bit signed integers"),
            (np.full((8, 8, 1), 3_000_000_000, np.uint32), {}, "1 band of 32-bit integers"),
            (
                np.zeros((8, 8, 3), np.uint16),
                {284: 2, 262: 2, 273: (1000,) * 3, 279: (128,) * 3},
                "3 bands of 16-bit integers",
            ),
        ],
    )
    def test_bands_that_are_not_read_are_named(self, values, tags, words):
        with pytest.raises(UserError, match=rf"^map\.tif has {words}, stored in a way .*; save it as RGB or grey"):
            images.decode(raw_tiff(values, tags), "map.tif")

    def test_sixteen_bit_colours(self):
        values = np.random.default_rng(0).integers(0, 65536, (8, 9, 3), dtype=np.uint16)
        np.testing.assert_array_equal(images.decode(raw_tiff(values, {262: 2})), values >> 8)


def raw_tiff(values: np.ndarray, tags: dict[int, int | tuple[int, ...]]) -> bytes:
    """An uncompressed TIFF with these pixels and further tags, which Pillow need not know how to write."""
    height, width, bands = values.shape
    bits = (8 * values.itemsize,) * bands
    start = 1000
    own = {256: width, 257: height, 258: bits, 259: 1, 262: 1, 273: start, 277: bands, 278: height, 279: values.nbytes}
    entries, extra = b"", b""
    merged = sorted((own | tags).items())
    for tag, value in merged:
        numbers = value if isinstance(value, tuple) else (value,)
        packed = struct.pack(f"<{len(numbers)}I", *numbers)
        if len(numbers) > 1:
            place = 8 + 2 + 12 * len(merged) + 4 + len(extra)
            extra += packed
            packed = struct.pack("<I", place)
        entries += struct.pack("<HHI", tag, 4, len(numbers)) + packed
    head = b"II*\0" + struct.pack("<IH", 8, len(merged)) + entries + bytes(4) + extra
    return head.ljust(start, b"\0") + values.tobytes()


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about odd metadata
class TestAnyBytes:
    SAMPLES = tuple(
        saved(Image.fromarray(picture(16, 24)).convert(mode), form, **options)
        for form, mode, options in [
            ("JPEG", "RGB", {}), ("JPEG", "CMYK", {}), ("PNG", "RGB", {}), ("PNG", "P", {}), ("GIF", "P", {}),
            ("BMP", "RGB", {}), ("TIFF", "RGB", {}), ("TIFF", "F", {}), ("TIFF", "RGB", {"compression": "tiff_lzw"}),
            ("WEBP", "RGB", {}), ("PPM", "RGB", {}), ("JPEG2000", "RGB", {}), ("AVIF", "RGB", {}),
        ]
        if form != "AVIF" or image_kinds.AVIF.open  # Pillow has it since 11.3
    )  # fmt: skip

    @staticmethod
    def check(data: bytes, exif_rotate: bool) -> None:
        try:
            pixels = images.decode(data, "x.jpg", exif_rotate)
        except UserError as error:
            assert str(error).startswith("x.jpg ") and "\n" not in str(error)
        else:
            assert pixels.dtype == np.uint8 and pixels.ndim == 3 and pixels.shape[-1] == 3 and pixels.size

    @given(st.binary(max_size=300), st.sampled_from([b"", *(data[:40] for data in SAMPLES)]), st.booleans())
    @settings(deadline=None, max_examples=200)
    def test_are_an_image_or_a_sentence(self, tail, head, exif_rotate):
        self.check(head + tail, exif_rotate)

    @given(st.data())
    @settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
    def test_a_changed_file_is_an_image_or_a_sentence(self, monkeypatch, data):
        monkeypatch.setattr(images, "MAX_PIXELS", 1 << 20)
        content = bytearray(data.draw(st.sampled_from(self.SAMPLES)))
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        self.check(bytes(content[: data.draw(st.integers(1, len(content)))]), data.draw(st.booleans()))


def test_threads_share_a_number_of_pixels():
    room = images._Room(1000)
    data, small = encoded(picture(30, 30), "PNG"), encoded(picture(5, 5), "PNG")
    held, most, lock = 0, 0, threading.Lock()

    def work(content: bytes, count: int) -> None:
        nonlocal held, most
        with room(content):
            with lock:
                held += count
                most = max(most, held)
            time.sleep(0.02)
            with lock:
                held -= count

    threads = [threading.Thread(target=work, args=each) for each in [(data, 900), (small, 25)] * 6]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert held == 0 and 900 <= most <= 1000
    with room(encoded(picture(60, 60), "PNG")):  # More than there is: then it is the only one.
        pass


def test_pixels_are_counted_by_the_header():
    wide = Image.fromarray(picture(20, 30))
    for form in "PNG", "JPEG", "GIF", "TIFF":
        assert images._count(saved(wide, form)) == 600
    data = saved(wide, "PNG")
    assert images._count(data[:24]) == 600  # that its pixels are missing is told when it is decoded
    assert [images._count(data[:length]) for length in (4, 12, 23)] == [0, 0, 0]
    assert images._count(data[:16] + b"\xff" * 8 + data[24:]) == 0  # so many are refused
