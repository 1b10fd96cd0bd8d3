"""Starts of the head from image features: class means, k-shot means and a linear probe.

They give the kernel of a head, (features, classes) with unit columns. Section 4.2 and figure 8 of LIFT (Shi et al.
2024) compare them with the start from text.
"""

import warnings

import numpy as np
from jaxtyping import Bool, Float, Int

from lift_jax.data.dataset import label_counts
from lift_jax.errors import UserError
from lift_jax.models.unit_rows import unit_rows


def few_shot(
    labels: Int[np.ndarray, " n"] | Bool[np.ndarray, "n classes"], num_classes: int, shots: int, seed: int = 0
) -> Int[np.ndarray, " m"]:
    """Chooses up to `shots` random examples of each class by seed and labels alone; gives their ascending indices."""
    generator = np.random.default_rng(seed)
    groups = (np.flatnonzero(labels[:, c] if labels.ndim == 2 else labels == c) for c in range(num_classes))
    return np.unique(np.concatenate([generator.permutation(group)[:shots] for group in groups]))


def class_mean_kernel(
    features: Float[np.ndarray, "n d"],
    labels: Int[np.ndarray, " n"] | Bool[np.ndarray, "n classes"],
    num_classes: int,
) -> Float[np.ndarray, "d c"]:
    """Gives the normalised mean feature of each class.

    Args:
        features: of the frozen backbone on plain crops.
        labels: 0 to num_classes - 1; or of which classes each image is, and then it counts for each of them.
        num_classes: c.

    Raises:
        UserError: if a class has no image.
    """
    _check_every_class(labels, num_classes)
    if labels.ndim == 2:
        sums = labels.T.astype(np.float64) @ features
    else:
        sums = np.zeros((num_classes, features.shape[1]), np.float64)
        np.add.at(sums, labels, features)
    return unit_rows(sums / label_counts(labels, num_classes)[:, None]).T.astype(np.float32)


def linear_probe_kernel(
    features: Float[np.ndarray, "n d"], labels: Int[np.ndarray, " n"], num_classes: int, seed: int = 0
) -> Float[np.ndarray, "d c"]:
    """Gives the normalised weights of a logistic regression: L2, balanced classes, lbfgs with at most 100 iterations.

    Args:
        features: of the frozen backbone on plain crops.
        labels: 0 to num_classes - 1.
        num_classes: c.
        seed: of the regression.

    Raises:
        UserError: if a class has no image.
    """
    from sklearn import exceptions, linear_model  # Slow to import, and this start is the only one that needs it.

    _check_every_class(labels, num_classes)
    probe = linear_model.LogisticRegression(max_iter=100, class_weight="balanced", random_state=seed)
    with warnings.catch_warnings():  # the published probe stops there, converged or not
        warnings.simplefilter("ignore", exceptions.ConvergenceWarning)
        weights = probe.fit(features, labels).coef_
    if num_classes == 2:  # scikit-learn keeps the second class's weights alone
        weights = np.concatenate([-weights, weights])
    return unit_rows(weights).T.astype(np.float32)


def _check_every_class(labels: Int[np.ndarray, " n"] | Bool[np.ndarray, "n classes"], num_classes: int) -> None:
    absent = np.flatnonzero(label_counts(labels, num_classes) == 0)
    if len(absent):
        raise UserError(
            f"Class {absent[0]} has no training image (as {len(absent)} of {num_classes} classes), so the head cannot "
            "start from image features; write config.head_init=text or config.head_init=random."
        )
