"""The version of lift_jax."""

__version__ = "0.1.0"
