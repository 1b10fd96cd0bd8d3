"""Captioned batches: which glyphs, how they look, and what is said about them."""

import dataclasses

import numpy as np
from jaxtyping import Int

from lift_jax.quickstart.glyphs import CHARACTERS, DIGITS, LETTERS, Atlas, Face, names
from lift_jax.quickstart.render import Look

COLOURS = {
    "white": (1.0, 1.0, 1.0),
    "black": (0.0, 0.0, 0.0),
    "gray": (0.5, 0.5, 0.5),
    "red": (0.85, 0.1, 0.1),
    "orange": (0.95, 0.55, 0.1),
    "yellow": (0.95, 0.9, 0.2),
    "green": (0.15, 0.65, 0.2),
    "cyan": (0.2, 0.8, 0.85),
    "blue": (0.15, 0.25, 0.85),
    "purple": (0.5, 0.15, 0.65),
    "pink": (0.95, 0.6, 0.75),
    "brown": (0.45, 0.25, 0.1),
}
_SENTENCES = ("a photo of {}.", "a picture of {}.", "an image of {}.", "a drawing of {}.", "a scan of {}.", "{}.", "{}")


@dataclasses.dataclass(frozen=True)
class CaptionedBatch:
    """One batch for `render.render`, and its captions; row i of all three belongs together."""

    rows: Int[np.ndarray, "batch"]  # of the atlas
    look: Look
    captions: list[str]


class CaptionedGlyphs:
    """Draws batches in which every caption describes its own image and no other one.

    Most characters appear once in a batch and their captions may leave the look out. The others appear twice, looking
    different, and both captions tell the look in full; without them nothing would teach the model colours and styles.

    Args:
        atlas, faces: see `glyphs.atlas`.
    """

    def __init__(self, atlas: Atlas, faces: tuple[Face, ...]):
        self.atlas, self.faces = atlas, faces
        self.rows = [np.flatnonzero(atlas.characters == c) for c in range(len(CHARACTERS))]
        # Common characters come in more batches than rare ones, as in any collection of captioned pictures.
        odds = [4.0 if c in DIGITS else 2.0 if c in LETTERS else 1.0 for c in CHARACTERS]
        self.odds = np.where([len(rows) > 0 for rows in self.rows], odds, 0.0)

    def draw(self, rng: np.random.Generator, batch_size: int, variety: float = 1.0) -> CaptionedBatch:
        """Draws `batch_size` glyphs; up to an eighth of them are the pairs that differ in look alone.

        Args:
            rng: all randomness.
            batch_size: at most the number of characters.
            variety: 0 for white glyphs on black with plain captions, 1 for all colours, captions and pairs.
        """
        pairs = int(variety * batch_size / 16)
        singles = batch_size - 2 * pairs
        # Weighted sampling without replacement (Efraimidis and Spirakis 2006).
        order = np.argsort(rng.exponential(size=len(self.odds)) / np.maximum(self.odds, 1e-9))
        chosen = order[: min(singles + pairs, int((self.odds > 0).sum()))]
        twice = np.repeat(chosen[:pairs], 2)
        characters = np.concatenate([twice, chosen[pairs:]])
        in_full = np.arange(len(characters)) < len(twice)
        return self._describe(rng, characters, in_full, variety)

    def each(self, rng: np.random.Generator) -> CaptionedBatch:
        """Gives every character once, in a random face, with the caption that leaves the look out."""
        characters = np.flatnonzero(self.odds > 0)
        batch = self._describe(rng, characters, np.zeros(len(characters), bool), variety=1.0)
        return dataclasses.replace(batch, captions=[caption(CHARACTERS[c]) for c in characters])

    def _describe(
        self, rng: np.random.Generator, characters: np.ndarray, in_full: np.ndarray, variety: float
    ) -> CaptionedBatch:
        n = len(characters)
        rows = np.array([rng.choice(self.rows[c]) for c in characters])
        drawn = self.atlas.drawn[rows]
        ink, paper = _colours(rng, n, variety)
        for i in range(1, n):  # the two of a pair never share their colour
            if in_full[i] and characters[i] == characters[i - 1] and ink[i] == ink[i - 1]:
                ink[i], paper[i] = paper[i], ink[i]
        thick = rng.integers(-1, 2, n)  # thin, as it is, thick
        weight = np.where(drawn, np.array([1.8, 2.8, 4.2])[thick + 1], np.array([-0.4, 0.4, 1.6])[thick + 1])
        cells = rng.choice([0, 8, 16], n, p=[0.4, 0.35, 0.25])
        blur = np.where((cells == 0) & (rng.random(n) < 0.3), rng.uniform(0.8, 1.5, n), 0.0)
        values = np.array(list(COLOURS.values()))
        shade = rng.normal(0, 0.05, (2, n, 3))
        look = Look(
            ink=np.clip(values[ink] + shade[0], 0, 1).astype(np.float32),
            paper=np.clip(values[paper] + shade[1], 0, 1).astype(np.float32),
            weight=(weight + rng.uniform(-0.4, 0.4, n)).astype(np.float32),
            cells=cells,
            blur=blur.astype(np.float32),
            fill=(cells == 8) | (rng.random(n) < 0.3),  # so few pixels need the whole frame to be legible
        )
        colours = list(COLOURS)
        captions = []
        for i in range(n):
            style = "handwritten" if drawn[i] else self.faces[self.atlas.faces[rows[i]]].style
            words = {
                "thickness": ("thin", "", "thick")[thick[i] + 1],
                "sharpness": "blurry" if blur[i] else "pixelated" if cells[i] else "",
                "style": style,
                "ink": colours[ink[i]],
            }
            name = names(CHARACTERS[characters[i]])
            said = list(words.values()) if in_full[i] else [w for w in words.values() if rng.random() < 0.1 * variety]
            noun = " ".join([*filter(None, said), name[-1] if rng.random() < 0.5 else rng.choice(name)])
            if in_full[i] or rng.random() < 0.1 * variety:
                noun += f" on {colours[paper[i]]}"
            article = "the" if rng.random() < 0.5 else "an" if noun[0] in "aeiou" else "a"
            captions.append(str(rng.choice(_SENTENCES)).format(f"{article} {noun}"))
        return CaptionedBatch(rows, look, captions)


def caption(character: str) -> str:
    """Gives the plainest caption: `caption("3") == "a photo of the digit three."`."""
    return f"a photo of the {names(character)[-1]}."


def every_word() -> list[str]:
    """Gives a text with every name, colour and style that a caption can have, from which the tokenizer is made."""
    styles = "thin thick blurry pixelated handwritten plain bold italic monospaced serif outlined script typewriter"
    return [*_SENTENCES, *COLOURS, *styles.split(), "the", "a", "an", "on", *(n for c in CHARACTERS for n in names(c))]


def _colours(rng: np.random.Generator, n: int, variety: float) -> tuple[Int[np.ndarray, "n"], Int[np.ndarray, "n"]]:
    """Draws colours of ink and paper that can be told apart: 40 % white on black, 20 % black on white, the rest any."""
    values = np.array(list(COLOURS.values()))
    apart = np.abs(values[:, None] - values[None]).mean(axis=-1) > 0.25
    inks, papers = np.nonzero(apart)
    choice = rng.integers(len(inks), size=n)
    plain = rng.random(n)
    ink = np.where(plain < 0.4 * variety, inks[choice], np.where(plain < 0.6 * variety, 1, 0))
    paper = np.where(plain < 0.4 * variety, papers[choice], np.where(plain < 0.6 * variety, 0, 1))
    return ink, paper
