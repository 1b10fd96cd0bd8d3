"""What a person is asked to look at: images that may be labelled wrong, be there twice, or are uncertain."""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import UInt8

Pixels = Callable[[], UInt8[np.ndarray, "height width 3"]]
"""Reads an image."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """An image that a person is asked to look at.

    Attributes:
        image: its path, as a file of corrections names it.
        given: the class that it is labelled with, or "" for a new image.
        suggested: the class that it is taken for, or "" where none is suggested.
        score: the probability of the given class, of a new image that of the suggested one; of copies their likeness.
        beside: the path of the image that it is a copy of, or "".
        where: the split that the image beside it is in, or "".
        pictures: the image, and the one that it is a copy of.
    """

    image: str
    given: str
    suggested: str
    score: float
    beside: str = ""
    where: str = ""
    pictures: Sequence[Pixels] = ()


@dataclasses.dataclass(frozen=True)
class Review:
    """What was found in a run's data, the most suspicious first.

    Attributes:
        title: what the page is called.
        method: what the probabilities of the suspected labels are.
        class_names: the names of the classes, in label order.
        suspected: training images whose labels look wrong.
        copies: training images that are also elsewhere in the data.
        uncertain: new images, of which the run is the least certain.
    """

    title: str
    method: str
    class_names: Sequence[str]
    suspected: Sequence[Finding]
    copies: Sequence[Finding]
    uncertain: Sequence[Finding]
