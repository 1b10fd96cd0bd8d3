"""Small data sets for the tests of the data."""

import io

import numpy as np
from PIL import Image

from lift_jax.data.dataset import ArraySource, Dataset


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """A smooth random uint8 RGB image, so that resizing and JPEG keep most of it."""
    coarse = np.random.default_rng(seed).integers(0, 256, (height // 8 + 2, width // 8 + 2, 3), np.uint8)
    return np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC))


def encoded(image: np.ndarray, form: str = "JPEG", **options) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, form, **options)
    return buffer.getvalue()


def write_images(root, paths: list[str], size: tuple[int, int] = (20, 24)) -> None:
    for seed, path in enumerate(paths):
        file = root / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encoded(picture(*size, seed), "PNG" if path.endswith("png") else "JPEG"))


def array_dataset(count: int, size: int = 12, classes: int = 3) -> Dataset:
    images = np.stack([picture(size, size, seed) for seed in range(count)])
    labels = (np.arange(count) % classes).astype(np.int32)
    return Dataset("pictures", ArraySource(images), labels, tuple(f"class {c}" for c in range(classes)))


class BytesSource:
    """Encoded images in memory."""

    def __init__(self, contents: list[bytes]):
        self.contents = contents

    def __len__(self) -> int:
        return len(self.contents)

    def __getitem__(self, index: int) -> bytes:
        return self.contents[index]

    def path(self, index: int) -> str:
        return f"pictures/{index}.jpg"


def bytes_dataset(contents: list[bytes]) -> Dataset:
    return Dataset("pictures", BytesSource(contents), np.zeros(len(contents), np.int32), ("thing",))
