"""RandAugment (Cubuk et al. 2020, arXiv 1909.13719) with Pillow; operations and ranges are torchvision's."""

import dataclasses
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from lift_jax.data.resampling import Pixels
from lift_jax.errors import UserError

MAX_MAGNITUDE = 30

Operation = Callable[[Image.Image, float], Image.Image]


def _affine(image: Image.Image, *matrix: float) -> Image.Image:
    """Moves pixels: (x, y) becomes that at (a x + b y + c, d x + e y + f); what lies outside of the image is black."""
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST)


SIGNED: dict[str, Operation] = {
    "ShearX": lambda image, m: _affine(image, 1, 0.3 * m, 0, 0, 1, 0),
    "ShearY": lambda image, m: _affine(image, 1, 0, 0, 0.3 * m, 1, 0),
    "TranslateX": lambda image, m: _affine(image, 1, 0, -int(150 / 331 * image.width * m), 0, 1, 0),
    "TranslateY": lambda image, m: _affine(image, 1, 0, 0, 0, 1, -int(150 / 331 * image.height * m)),
    "Rotate": lambda image, m: image.rotate(30 * m),
    "Brightness": lambda image, m: ImageEnhance.Brightness(image).enhance(1 + 0.9 * m),
    "Color": lambda image, m: ImageEnhance.Color(image).enhance(1 + 0.9 * m),
    "Contrast": lambda image, m: ImageEnhance.Contrast(image).enhance(1 + 0.9 * m),
    "Sharpness": lambda image, m: ImageEnhance.Sharpness(image).enhance(1 + 0.9 * m),
}
"""Operations on an image, given the magnitude as a share of the largest, from -1 to 1."""

UNSIGNED: dict[str, Operation] = {
    "Identity": lambda image, m: image,
    "Posterize": lambda image, m: ImageOps.posterize(image, 8 - round(4 * m)),
    "Solarize": lambda image, m: ImageOps.solarize(image, 255 * (1 - m)),  # pyright: ignore[reportArgumentType]
    "AutoContrast": lambda image, m: ImageOps.autocontrast(image),
    "Equalize": lambda image, m: ImageOps.equalize(image),
}
"""The same, with a share from 0 to 1."""

_OPERATIONS = list({**SIGNED, **UNSIGNED}.items())


@dataclasses.dataclass(frozen=True)
class RandAugment:
    """Applies some operations in a row, drawn uniformly, of one magnitude and, where they have one, a random sign.

    Args:
        operations: how many; 0 does nothing.
        magnitude: from 0 to `MAX_MAGNITUDE`.

    Raises:
        UserError: a number is out of its range.
    """

    operations: int = 2
    magnitude: int = 9

    def __post_init__(self):
        if self.operations < 0:
            raise UserError(
                f"config.data.randaugment is {self.operations}; write the number of operations, 0 for none."
            )
        if not 0 <= self.magnitude <= MAX_MAGNITUDE:
            raise UserError(
                f"config.data.randaugment_magnitude is {self.magnitude}; write a number from 0 to {MAX_MAGNITUDE}."
            )

    def __call__(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        """Gives the augmented image, of the same size."""
        augmented = Image.fromarray(image)
        for _ in range(self.operations):
            name, operation = _OPERATIONS[rng.integers(len(_OPERATIONS))]
            sign = -1 if name in SIGNED and rng.random() < 0.5 else 1
            augmented = operation(augmented, sign * self.magnitude / MAX_MAGNITUDE)
        return np.asarray(augmented)
