"""How every format's reader begins and ends: with the arrays by the format's names, and with the model made of them."""

from collections.abc import Callable, Sequence
from pathlib import Path

from lift_jax.weights import clip_tokenizer, misplaced, siglip_tokenizer
from lift_jax.weights.arrays import Foreign, read
from lift_jax.weights.backbone import Backbone, content_hash
from lift_jax.weights.folder import TRANSFORMERS, stored_arrays
from lift_jax.weights.layout import Layout

Aligned = Callable[[Foreign, str], Foreign | None]
"""Gives the arrays of a file by a format's names, whatever prefix they have; None if they are not of the format."""


def named_arrays(folder: Path, aligned: Aligned, files: Sequence[str] = TRANSFORMERS) -> tuple[Foreign, str]:
    """Returns a folder's arrays by a format's names, and what to call their file in a message.

    Args:
        folder: the folder.
        aligned: the format's function for it.
        files: the names of the files that may hold the arrays, the preferred first.

    Raises:
        UserError: if there is no such file, it cannot be read, or it holds another model.
    """
    foreign, source = stored_arrays(folder, files)
    named = aligned(foreign, source)
    if named is None:
        raise misplaced.arrays(foreign, source)
    return named, source


def assemble(
    place: Path, layout: Layout, foreign: Foreign, source: str, configuration: str = "one another"
) -> Backbone:
    """Makes a foundation model of the arrays of a file.

    Args:
        place: the folder or the file that the model is called by. The tokenizer is looked for there.
        layout: what the configuration, or the file itself, says of the model.
        foreign: the arrays by the names of the format.
        source: what to call the file of the arrays in a message.
        configuration: what to call in a message what the arrays have to fit.

    Raises:
        UserError: if the arrays do not fit the layout, or the tokenizer cannot be read.
    """
    params, text = read(layout.table, foreign, source, configuration), layout.text
    find = clip_tokenizer.find if text is None or text.causal else siglip_tokenizer.find
    folder = place if place.is_dir() else place.parent
    return Backbone(
        name=str(place),
        vision=layout.vision,
        params=params,
        resolution=layout.resolution,
        mean=layout.mean,
        std=layout.std,
        text=text,
        tokenizer=text and find(folder, text.context_length, text.vocab_size),
        hash=content_hash(params),
    )
