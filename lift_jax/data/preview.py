"""What was understood of a data set, in one line."""

from lift_jax.data.dataset import Dataset
from lift_jax.data.shown import shown

_FIRST = 3
"""Classes that are shown besides the last one."""


def describe(dataset: Dataset) -> str:
    """Describes the classes of a data set, the first few and the last by name, and where the names come from.

    For example "12 classes: 0 = tarantula (41 images), 1 = scorpion (3 images), 2 = tick (1 image), …, 11 = flea (2
    images); names from the folders."
    """
    counts = dataset.class_counts
    last = dataset.num_classes - 1
    each = [_one(dataset.class_names[label], label, int(counts[label])) for label in range(min(_FIRST, last))]
    dots = ["…"] if last > _FIRST else []
    listed = ", ".join([*each, *dots, _one(dataset.class_names[last], last, int(counts[last]))])
    return (
        f"{dataset.num_classes:,} class{'es' if last else ''}: {listed}; "
        f"names from {dataset.names_from or 'the data set'}."
    )


def _one(name: str, label: int, count: int) -> str:
    return f"{label} = {shown(name)} ({count:,} image{'' if count == 1 else 's'})"
