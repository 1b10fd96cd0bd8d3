"""What a person looks at after a run: one page with its pictures and tables, and one that puts runs side by side.

    python -m lift_jax.report RUN                  draws RUN/report.html and RUN/report/*.png anew
    python -m lift_jax.report compare RUN RUN ...  writes comparison.html and comparison/*.png

A run draws its own report at its end, unless config.report is False.
"""

from lift_jax.report.comparison import compare
from lift_jax.report.run_report import write

__all__ = ["compare", "write"]
