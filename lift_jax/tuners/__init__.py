"""Lightweight tuners, one small file each, and the choice among them.

A tuner either adds modules at the sites of a block (`lift_jax.models.sites`) or trains parameters that the backbone has
already, by a rule over their paths (`lift_jax.tuners.selection`). Several may be combined, as in "lora+ln_tuning".
"""

from lift_jax.tuners.build import build
from lift_jax.tuners.methods import METHODS, Method, resolve
from lift_jax.tuners.mixing import WIDTHS, averaged, scaled, widths, without_effect
from lift_jax.tuners.options import tuner_defaults
from lift_jax.tuners.summary import rows, summary
from lift_jax.tuners.tuning import Tuning

__all__ = [
    "METHODS",
    "WIDTHS",
    "Method",
    "Tuning",
    "averaged",
    "build",
    "resolve",
    "rows",
    "scaled",
    "summary",
    "tuner_defaults",
    "widths",
    "without_effect",
]
