"""Projection tuning (LIFT+, arXiv 2504.13282): both projections into the space that CLIP's images and texts share."""

from lift_jax.models.partition import Path
from lift_jax.models.text_head import TEXT
from lift_jax.tuners.effects import Weights
from lift_jax.tuners.spec import TunerSpec


def projections(path: Path) -> bool:
    """Selects the projections of the image and the text features."""
    return path[0] == TEXT and path[1].startswith(("visual_projection", "text_projection"))


PROJECTION_TUNING = TunerSpec(
    "projection_tuning",
    "both projections into the shared space",
    selects=lambda _: projections,
    acts_in=("shared",),
    effect=Weights(),
)
