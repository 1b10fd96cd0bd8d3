"""lift_jax: long-tail fine-tuning of foundation models with lightweight tuners (LIFT, ICML 2024), in JAX."""

__version__ = "0.1.0"
