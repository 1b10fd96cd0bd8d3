"""Rendered glyphs: what the quickstart's foundation model is pre-trained on.

Every glyph is a digit, a letter or a symbol in one of the fonts that matplotlib and Pillow ship. It is kept as a field:
the signed distance of every pixel to the outline (printed), or the distance to the skeleton (drawn with a pen). A field
can be bent, thickened and scaled with a few multiplications, and `lift_jax.quickstart.render` makes images of it.
"""

import dataclasses
import functools
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import matplotlib
import numpy as np
from jaxtyping import Bool, Float, Int, UInt8
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from scipy import ndimage

FRAME = 64  # side of a field in pixels
_FONT_SIZE = 60  # capitals are then about 44 pixels high in the frame
_LARGEST = 52  # wider or taller glyphs are made smaller, so that the frame holds the field around them
DEPTH = 12.0  # grey levels of a stored field per pixel of distance

DIGITS = "0123456789"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
GREEK = "αβγδεζηθλμξπρστφχψωΓΔΘΛΞΠΣΦΨΩ"
CYRILLIC = "БДЖИЛФЦЧШЩЭЮЯ"
SYMBOLS = (
    "!#$%&()*+/<=>?@[]^{}~§¶±×÷¿£¥€†‡…←↑→↓↔↕↖↗↘↙↵⇐⇑⇒⇓⇔∀∂∃∅∇∈∋∏∑∓√∝∞∠∧∨∩∪∫∮∴≈≠≡≤≥⊂⊃⊆⊇⊕⊗⊥⌈⌊"
    "■□▲△▼▽◆◇○●◐◑★☆☎☐☑☒☠☢☮☯☹☺♀♂♔♕♖♗♘♙♚♛♜♝♞♟♠♡♢♣♤♥♦♧♩♪♫♬♭♮♯⚀⚁⚂⚃⚄⚅✂✈✉✓✗❄❤➔"
)
CHARACTERS = DIGITS + LETTERS + GREEK + CYRILLIC + SYMBOLS
DRAWN = DIGITS + LETTERS + GREEK + CYRILLIC + "!#$%&()*+/<=>?@[]^{}~×÷£€←↑→↓↔√∞✓"  # what people write with a pen

_DIGIT_NAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


@dataclasses.dataclass(frozen=True)
class Face:
    """One look of the alphabet.

    Attributes:
        file: the font's file in matplotlib's folder; empty for the font inside Pillow.
        style: the word for it in a caption ("bold", "serif", …); may be empty.
        alphabet: "all" for every character the font has, "letters" for ASCII letters and digits only, or the code
            points, in hexadecimal, of a look's zero, capital A and small a among the mathematical alphanumeric symbols
            ("-" where the look has none).
    """

    file: str
    style: str
    alphabet: str = "all"


FACES = (
    Face("DejaVuSans.ttf", "plain"),
    Face("DejaVuSans-Bold.ttf", "bold"),
    Face("DejaVuSans-Oblique.ttf", "italic"),
    Face("DejaVuSans-BoldOblique.ttf", "bold italic"),
    Face("DejaVuSansMono.ttf", "monospaced"),
    Face("DejaVuSansMono-Bold.ttf", "bold monospaced"),
    Face("DejaVuSansMono-Oblique.ttf", "italic monospaced"),
    Face("DejaVuSerif.ttf", "serif"),
    Face("DejaVuSerif-Bold.ttf", "bold serif"),
    Face("DejaVuSerif-BoldItalic.ttf", "bold italic serif"),
    Face("STIXGeneral.ttf", "serif"),
    Face("STIXGeneralItalic.ttf", "italic serif"),
    Face("STIXGeneralBolIta.ttf", "bold italic serif"),
    Face("STIXGeneral.ttf", "outlined", "1D7D8 1D538 1D552"),
    Face("STIXGeneral.ttf", "plain", "1D7E2 1D5A0 1D5BA"),
    Face("STIXGeneral.ttf", "bold", "1D7EC 1D5D4 1D5EE"),
    Face("STIXGeneral.ttf", "monospaced", "1D7F6 1D670 1D68A"),
    Face("STIXGeneral.ttf", "italic", "- 1D608 1D622"),
    Face("STIXGeneral.ttf", "script", "- - 1D4EA"),
    Face("cmr10.ttf", "serif", "letters"),
    Face("cmb10.ttf", "bold serif", "letters"),
    Face("cmmi10.ttf", "italic serif", "letters"),
    Face("cmtt10.ttf", "typewriter", "letters"),
)
HELD_OUT_FACES = (
    Face("cmss10.ttf", "plain", "letters"),
    Face("STIXGeneralBol.ttf", "bold serif"),
    Face("DejaVuSerif-Italic.ttf", "italic serif"),
    Face("", "plain", "letters"),
)


def names(character: str) -> tuple[str, ...]:
    """Names a character, the plainest name last: `names("g") == ("lowercase letter g", …, "letter g")`."""
    if character in DIGITS:
        word = _DIGIT_NAMES[int(character)]
        return (f"number {word}", f"numeral {word}", word, f"digit {word}")
    if character in LETTERS and character.islower():
        return (f"lowercase letter {character}", f"lowercase {character}", f"small {character}", f"letter {character}")
    if character in LETTERS:
        letter = character.lower()
        return (f"uppercase letter {letter}", f"uppercase {letter}", f"capital {letter}", f"capital letter {letter}")
    name = unicodedata.name(character).lower()
    # Colours are for the ink: Unicode's "black star" means a filled one.
    name = name.replace("black ", "filled ").replace("white ", "hollow ")
    if character in GREEK and character.islower():
        return (name, name.removeprefix("greek small letter "), name.replace("small letter", "letter"))
    if character in GREEK + CYRILLIC:
        return (name.replace("letter ", ""), name)
    return (name,)


@dataclasses.dataclass(frozen=True)
class Atlas:
    """The fields of every character in every face that has it, printed and, where people draw it, skeletons.

    Attributes:
        fields: distance in frame pixels, positive inside the glyph, stored as 128 + 12 d.
        boxes: half width and half height of the glyph, as shares of half the frame.
        characters, faces: index into `CHARACTERS` and into the faces given to `atlas`.
        drawn: True for a skeleton.
    """

    fields: UInt8[np.ndarray, "n frame frame"]
    boxes: Float[np.ndarray, "n 2"]
    characters: Int[np.ndarray, "n"]
    faces: Int[np.ndarray, "n"]
    drawn: Bool[np.ndarray, "n"]


def atlas(faces: Sequence[Face] = FACES, characters: str = CHARACTERS) -> Atlas:
    """Renders `characters` in `faces`; takes about ten seconds for all of them. Two calls give the same arrays."""
    masks, boxes, rows = [], [], []
    for f, face in enumerate(faces):
        charmap = _charmap(face)
        for character in characters:
            point = _code_point(face, character)
            if point is None or point not in charmap:
                continue
            mask, box = _mask(face, chr(point))
            masks.append(mask)
            boxes.append(box)
            rows.append((CHARACTERS.index(character), f))
    printed = np.stack(masks)
    index, face_index = np.array(rows, np.int32).T
    by_pen = np.array([CHARACTERS[c] in DRAWN and faces[f].style != "outlined" for c, f in rows])
    skeletons = thin(printed[by_pen])
    fields = [_distance(mask) - _distance(~mask) for mask in printed] + [-_distance(~mask) for mask in skeletons]
    stored = np.clip(np.round(128 + DEPTH * np.stack(fields)), 0, 255).astype(np.uint8)

    def both(a: np.ndarray) -> np.ndarray:
        return np.concatenate([a, a[by_pen]])

    drawn = np.repeat([False, True], [len(printed), len(skeletons)])
    return Atlas(stored, both(np.array(boxes, np.float32)), both(index), both(face_index), drawn)


def thin(masks: Bool[np.ndarray, "n h w"]) -> Bool[np.ndarray, "n h w"]:
    """Thins shapes to skeletons one pixel wide, by the algorithm of Zhang and Suen (1984)."""
    masks = np.pad(masks, ((0, 0), (1, 1), (1, 1)))
    around = ((-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1))  # P2 to P9, clockwise from above
    h, w = masks.shape[1] - 2, masks.shape[2] - 2
    active = np.arange(len(masks))
    while len(active):
        changed = np.zeros(len(active), bool)
        for first in (True, False):
            m = masks[active]
            p = [m[:, 1 + dy : 1 + dy + h, 1 + dx : 1 + dx + w] for dy, dx in around]
            count = sum(q.astype(np.uint8) for q in p)
            rises = sum((~p[i] & p[(i + 1) % 8]).astype(np.uint8) for i in range(8))
            north, east, south, west = p[0], p[2], p[4], p[6]
            if first:
                corner = ~(north & east & south) & ~(east & south & west)
            else:
                corner = ~(north & east & west) & ~(north & south & west)
            remove = m[:, 1:-1, 1:-1] & (count >= 2) & (count <= 6) & (rises == 1) & corner
            masks[active, 1:-1, 1:-1] = m[:, 1:-1, 1:-1] & ~remove
            changed |= remove.any(axis=(1, 2))
        active = active[changed]
    return masks[:, 1:-1, 1:-1]


def _distance(mask: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Measures the distance from every true pixel to the nearest false one, in pixels."""
    return np.asarray(ndimage.distance_transform_edt(mask))


def _path(face: Face) -> Path:
    return Path(matplotlib.get_data_path(), "fonts", "ttf", face.file)


@functools.cache
def _charmap(face: Face) -> frozenset[int]:
    return frozenset(FT2Font(_path(face)).get_charmap()) if face.file else frozenset(map(ord, LETTERS + DIGITS))


def _code_point(face: Face, character: str) -> int | None:
    """Gives the code point of `character` in `face`; None if its alphabet has none (the font may lack others too)."""
    if face.alphabet == "all":
        return ord(character)
    if character not in DIGITS + LETTERS:
        return None
    if face.alphabet == "letters":
        return ord(character)
    starts = dict(zip("0Aa", face.alphabet.split(), strict=True))
    start = "0" if character in DIGITS else "a" if character.islower() else "A"
    return None if starts[start] == "-" else int(starts[start], 16) + ord(character) - ord(start)


@functools.cache
def _font(face: Face, size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.truetype(_path(face), size) if face.file else ImageFont.load_default(size)


def _mask(face: Face, text: str) -> tuple[Bool[np.ndarray, "frame frame"], tuple[float, float]]:
    """Draws the glyph in the middle of the frame, and gives its half width and height as shares of half the frame."""
    size = _FONT_SIZE
    left, top, right, bottom = _font(face, size).getbbox(text)
    if max(right - left, bottom - top) > _LARGEST:
        size = int(size * _LARGEST / max(right - left, bottom - top))
        left, top, right, bottom = _font(face, size).getbbox(text)
    image = Image.new("L", (FRAME, FRAME))
    at = ((FRAME - left - right) / 2, (FRAME - top - bottom) / 2)
    ImageDraw.Draw(image).text(at, text, fill=255, font=_font(face, size))
    return np.asarray(image) > 127, ((right - left) / FRAME, (bottom - top) / FRAME)
