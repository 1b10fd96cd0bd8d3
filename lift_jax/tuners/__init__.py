"""Lightweight tuners, one small file a method, and the choice among them.

A tuner either adds modules at the sites of a block (`lift_jax.models.sites`) or trains parameters that the backbone has
already, by a rule over their paths (`lift_jax.tuners.selection`). Several may be combined.
"""

from lift_jax.tuners.build import METHODS, Tuning, build

__all__ = ["METHODS", "Tuning", "build"]
