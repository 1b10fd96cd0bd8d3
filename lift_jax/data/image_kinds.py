"""What kind of file something is, told from its first bytes; and the decoder of each kind that is read.

Only decoders of photographs are started, and for each file only that of its own kind. Others that Pillow has are out of
reach: its PostScript decoder starts Ghostscript, and an icon holds images that are larger than it says.
"""

import dataclasses
import functools
import importlib
import re
from collections.abc import Callable
from typing import Any

HEAD = 512
"""How many of a file's first bytes `kind_of` looks at."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of file.

    Attributes:
        name: what a sentence calls a file of it, such as "a JPEG image".
        decoder: the module and the name of what opens it as a Pillow image; "" if it is not read.
        package: what pip installs where that module is missing.
        remedy: what to do with a file of a kind that is not read.
    """

    name: str
    decoder: str = ""
    package: str = ""
    remedy: str = "convert it to PNG or JPEG"

    @property
    def open(self) -> Callable[..., Any] | None:
        """Opens a file object as a Pillow image whose pixels are not yet decoded; None if the kind cannot be read."""
        return _imported(self.decoder) if self.decoder else None

    @property
    def hint(self) -> str:
        """Says how a file of this kind can be made readable; "" if it is."""
        if self.open is not None:
            return ""
        return f"pip install {self.package} to read it" if self.decoder else self.remedy


@functools.cache
def _imported(decoder: str) -> Callable[..., Any] | None:
    module, _, name = decoder.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except ImportError:
        return None


JPEG = Kind("a JPEG image", "PIL.JpegImagePlugin:jpeg_factory")  # also MPO, which many phones write
PNG = Kind("a PNG image", "PIL.PngImagePlugin:PngImageFile")
GIF = Kind("a GIF image", "PIL.GifImagePlugin:GifImageFile")
WEBP = Kind("a WebP image", "PIL.WebPImagePlugin:WebPImageFile")
TIFF = Kind("a TIFF image", "PIL.TiffImagePlugin:TiffImageFile")
BMP = Kind("a BMP image", "PIL.BmpImagePlugin:BmpImageFile")
PPM = Kind("a PPM image", "PIL.PpmImagePlugin:PpmImageFile")
JPEG_2000 = Kind("a JPEG 2000 image", "PIL.Jpeg2KImagePlugin:Jpeg2KImageFile")
AVIF = Kind("an AVIF image", "PIL.AvifImagePlugin:AvifImageFile", "'pillow>=11.3'")
HEIF = Kind("a HEIF image", "pillow_heif:HeifImageFile", "pillow-heif")
JPEG_XL = Kind("a JPEG XL image", "pillow_jxl.JpegXLImagePlugin:JXLImageFile", "pillow-jxl-plugin")

PHOTOGRAPHS = "JPEG, PNG, WebP, GIF, BMP, TIFF, PPM, JPEG 2000, AVIF, and with plugins HEIF and JPEG XL"
"""The kinds that are read, for messages."""

_RAW = Kind("a camera's raw file, of which only a preview could be read", remedy="develop it to PNG or JPEG")
_ARRAYS = Kind("a file of arrays", remedy="save each image as PNG")

_KINDS: tuple[tuple[bytes, Kind], ...] = (
    (rb"\xff\xd8\xff", JPEG),
    (rb"\x89PNG\r\n\x1a\n", PNG),
    (rb"GIF8[79]a", GIF),
    (rb"RIFF....WEBP", WEBP),
    (rb"II\*\0....CR|FUJIFILMCCD-RAW|II(RO|RS|U\0)|MMOR|FOVb", _RAW),
    # Raw files of most makers, and DNG: a TIFF whose first image says that it is a reduced one.
    (rb"II\*\0\x08\0\0\0..\xfe\0\x04\0\x01\0\0\0\x01|MM\0\*\0\0\0\x08..\0\xfe\0\x04\0\0\0\x01\0\0\0\x01", _RAW),
    (rb"(II|MM)(\*\0|\0\*|\+\0|\0\+)", TIFF),
    (rb"BM.{12}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0", BMP),
    (rb"P[1-6]\s+(#[^\n]*\n\s*)*\d+\s|Pf\s", PPM),
    (rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51", JPEG_2000),
    (rb"\0\0\0\x0cJXL \r\n\x87\n|\xff\x0a", JPEG_XL),
    (rb"%!PS|\xc5\xd0\xd3\xc6", Kind("an EPS (PostScript) file")),
    (rb"%PDF", Kind("a PDF document")),
    (rb"\0\0[\x01\x02]\0[^\0]\0", Kind("an icon (ICO)")),
    (rb"icns", Kind("an icon (ICNS)")),
    (rb"8BPS", Kind("a Photoshop file")),
    (rb"SIMPLE  =", Kind("a FITS file")),
    (rb"DDS |\xabKTX", Kind("a texture (DDS or KTX)")),
    (rb"\x76\x2f\x31\x01|#\?RADIANCE|PF\s", Kind("a high dynamic range image (EXR, HDR or PFM)")),
    (rb"\n[\0\x02-\x05]\x01|\x01\xda[\0\x01]|qoif|Image type:", Kind("an image of a rare kind (PCX, SGI, QOI or IM)")),
    (rb".{128}DICM", Kind("a DICOM file")),
    (rb"\x89HDF|CDF[\x01\x02]|\x93NUMPY|MATLAB", _ARRAYS),
    (rb"PK\x03\x04|\x1f\x8b|7z\xbc\xaf|Rar!|.{257}ustar", Kind("an archive", remedy="unpack it")),
    (rb"RIFF|\x1a\x45\xdf\xa3|OggS|ID3|\0\0\x01[\xba\xb3]", Kind("a video or sound", remedy="take images out of it")),
    (rb"version https://git-lfs", Kind("a Git LFS pointer", remedy="fetch the image itself with git lfs pull")),
    (rb"(?i)\s*<(!doctype )?html", Kind("a web page", remedy="download the image itself")),
    (rb"(?i)\s*<(svg|[?!].*<svg)", Kind("a drawing (SVG)")),
)
"""Regular expressions for a file's first bytes, in the order in which they are tried."""

_COMPILED = [(re.compile(pattern, re.DOTALL), kind) for pattern, kind in _KINDS]

_BRANDS = {b"avif": AVIF, b"avis": AVIF, b"crx ": _RAW} | dict.fromkeys(
    (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"), HEIF
)
"""What a file of the container of AVIF, HEIF and MP4 says that is in it."""


def kind_of(head: bytes) -> Kind | None:
    """Tells the kind of a file, or None if it is not known.

    Args:
        head: its first `HEAD` bytes, or more of it.
    """
    head = head[:HEAD]
    if head[4:8] == b"ftyp":
        size = int.from_bytes(head[:4], "big")
        brands = [head[8:12], *(head[at : at + 4] for at in range(16, min(size, len(head)), 4))]
        kinds = [_BRANDS[brand] for brand in brands if brand in _BRANDS]
        return AVIF if AVIF in kinds else next(iter(kinds), Kind("a video", remedy="take images out of it"))
    return next((kind for pattern, kind in _COMPILED if pattern.match(head)), None)
