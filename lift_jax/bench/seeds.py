"""Figures of several trainings that differ in their seed."""

import math
import statistics
from collections.abc import Sequence


def mean(values: Sequence[float], digits: int = 1) -> str:
    """Writes the mean and the standard error of the mean, such as "74.0 ± 0.5"; of one value there is no error.

    Args:
        values: one for each seed; "-" is written if one of them is NaN.
        digits: after the decimal point.
    """
    if any(math.isnan(value) for value in values):
        return "-"
    written = f"{statistics.fmean(values):.{digits}f}"
    error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return written if len(values) == 1 else f"{written} ± {error:.{digits}f}"
