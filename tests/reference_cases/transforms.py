"""kind = transforms: resizing and cropping of a photograph."""

import jax.numpy as jnp
import numpy as np

from lift_jax.data import transforms, views
from lift_jax.models import image_input
from reference_cases.case import Case

CORNERS = ["top_left", "top_right", "bottom_left", "bottom_right", "center"]


def check(case: Case) -> None:
    image, resolution, expand = case.array("image"), case.option("resolution"), case.option("expand")
    assert case.option("fivecrop_order") == CORNERS
    assert case.option("tencrop") == "fivecrop of the image, then fivecrop of its horizontal flip"
    assert case.option("test_resize") == resolution + resolution // 7
    boxes = case.option("resized_crop_boxes_tlhw")
    for interpolation in ("bilinear", "bicubic"):
        expected = case.group(interpolation)
        for name, mode, extra in (
            ("plain", "center", 0),
            ("test", "plain", 0),
            ("fivecrop", "fivecrop", expand),
            ("tencrop", "tencrop", expand),
        ):
            entry = views.prepare_test(image, resolution, extra, mode, interpolation)
            batch = {key: jnp.asarray(value)[None] for key, value in entry.items()}
            cut = image_input.cut(batch.pop("image"), **batch, resolution=resolution)[0]
            one_level_apart(cut if "crop" in name else cut[0], expected.pop(name), f"{interpolation}/{name}")
        for i, box in enumerate(boxes):
            name = f"resized_crop_{i}"
            crop = transforms.resized_crop(image, tuple(box), resolution, interpolation)
            one_level_apart(crop, expected.pop(name), f"{interpolation}/{name}")
        assert not expected, f"{sorted(expected)} of {interpolation} are not known"


def one_level_apart(actual, expected, name: str) -> None:
    difference = np.abs(np.asarray(actual).astype(int) - expected.astype(int))
    assert difference.max() <= 1, f"{name}: {difference.max()} grey levels apart"
