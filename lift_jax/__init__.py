"""lift_jax: long-tail fine-tuning of foundation models with lightweight tuners (LIFT, ICML 2024), in JAX.

`lift_jax.load(run)` gives a trained run as a classifier of new images (`lift_jax.inference.model`).
"""

from typing import TYPE_CHECKING, Any

from lift_jax.version import __version__

if TYPE_CHECKING:
    from lift_jax.inference.load import load
    from lift_jax.inference.model import Model

__all__ = ["Model", "__version__", "load"]


def __getattr__(name: str) -> Any:
    # JAX and the rest are imported when they are used: `import lift_jax` alone takes no time.
    if name in ("Model", "load"):
        from lift_jax.inference import load as loading

        return getattr(loading, name)
    raise AttributeError(f"module 'lift_jax' has no attribute {name!r}")
