"""The config of a run: its keys with their defaults (`defaults.py`), and what is known of each key (`keys.py`)."""

from lift_jax.config.defaults import default, flatten, resolve

__all__ = ["default", "flatten", "resolve"]
