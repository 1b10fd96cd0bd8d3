"""What a person looks at after a run: one page with its pictures and tables, and one that puts runs side by side.

    python -m lift_jax.report RUN                  draws RUN/report.html and RUN/report/*.png anew
    python -m lift_jax.report compare RUN RUN ...  writes comparison.html and comparison/*.png

A run draws its own report at its end, unless config.report is False.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lift_jax.report.comparison import compare
    from lift_jax.report.run_report import write

__all__ = ["compare", "write"]


def __getattr__(name: str) -> Any:
    # Imported when it is used: `python -m lift_jax.report --help` needs neither JAX nor matplotlib.
    if name == "compare":
        from lift_jax.report import comparison

        return comparison.compare
    if name == "write":
        from lift_jax.report import run_report

        return run_report.write
    raise AttributeError(f"module 'lift_jax.report' has no attribute {name!r}")
