"""Whether weights can be those of a trained model, as far as their numbers show it."""

from collections.abc import Mapping

import numpy as np
from flax import traverse_util

from lift_jax.errors import UserError
from lift_jax.weights.backbone import Backbone

_FIRST = ("patch_embedding", "conv_1/kernel", "token_embedding")
"""What all images, or all texts, go through first."""

_LARGEST_SCALE = 20.0
"""The largest scale of the logits, before the exponential; CLIP's was limited to log(100) = 4.6 in its training."""

_REMEDY = "take the file from the model's source again"


def check(backbone: Backbone) -> None:
    """Checks that a backbone was trained.

    Raises:
        UserError: if a tower has one number everywhere, a variance is negative, or the scale of the logits is none.
    """
    for tower, what in ("vision", "image"), ("text", "text"):
        flat: Mapping[str, np.ndarray] = traverse_util.flatten_dict(dict(backbone.params.get(tower, {})), sep="/")  # pyright: ignore[reportAssignmentType]
        if (same := _constant(flat)) is not None:
            raise UserError(
                f"The {what} tower of the backbone {backbone.name} was not trained: every number of {same} is "
                f"{flat[same].flat[0]:g}; {_REMEDY}."
            )
        for name, array in flat.items():
            if name.endswith("/var") and array.min() < 0:
                raise UserError(
                    f"{name} of the backbone {backbone.name} is the variance of a batch normalisation and holds "
                    f"negative numbers; {_REMEDY}."
                )
    scale = float(backbone.params.get("logit_scale", 0))
    if abs(scale) > _LARGEST_SCALE:
        raise UserError(
            f"logit_scale of the backbone {backbone.name} is {scale:g}, whose exponential is no scale of logits; "
            f"{_REMEDY}."
        )


def _constant(tower: Mapping[str, np.ndarray]) -> str | None:
    """Returns a matrix of a tower that shows that it was not trained; None if it was, for all that is seen.

    Zeros may switch off a block, but neither all of them nor what everything goes through.
    """
    matrices = [name for name, array in tower.items() if array.ndim > 1]
    same = [name for name in matrices if _is_constant(tower[name])]
    first = [name for name in same if name in _FIRST]
    return next(iter(first or (same if len(same) == len(matrices) else [])), None)


def _is_constant(array: np.ndarray) -> bool:
    # Two numbers tell nearly always, so that a large model is not read once more.
    return array.size > 1 and array.flat[0] == array.flat[-1] and bool((array == array.flat[0]).all())
