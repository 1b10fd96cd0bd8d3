"""How frequent the classes were in the pre-training, as the zero-shot classifier takes it (arXiv 2310.08106).

Generalised logit adjustment (Zhu et al. 2023) cannot count the images of the pre-training. It finds the shares q of the
classes, a point on the simplex, for which the zero-shot logits z - log q have the smallest cross-entropy on labelled
images.
"""

import numpy as np
from jaxtyping import Bool, Float, Int


def fit(
    zero_shot: Float[np.ndarray, "n classes"], labels: Int[np.ndarray, " n"], alike: Bool[np.ndarray, " classes"]
) -> Float[np.ndarray, " classes"]:
    """Finds the pre-training prior.

    Every class counts the same, so that z - log q is for the uniform prior. Each has besides its images one of which
    zero-shot knows nothing, with equal logits: it keeps the share of a class with few images, or none, near those of
    the others. In -log q the risk is convex.

    Args:
        zero_shot: the logits of the zero-shot classifier.
        labels: the true classes.
        alike: the classes that have one share in common.

    Returns:
        The share of each class, with a sum of one.
    """
    from scipy import optimize  # slow to import

    num_classes = zero_shot.shape[1]
    share = 1 / (np.bincount(labels, minlength=num_classes) + 1) / num_classes  # of an image, by its class
    weights = np.append(share[labels], share.sum())
    rows = np.concatenate([zero_shot.astype(np.float64), np.zeros((1, num_classes))])
    _, places = np.unique(np.where(alike, num_classes, np.arange(num_classes)), return_inverse=True)

    def risk(free: Float[np.ndarray, " free"]) -> tuple[float, Float[np.ndarray, " free"]]:
        """Gives the cross-entropy, but for a constant, and its gradient."""
        sums = rows + free[places]
        largest = sums.max(axis=1, keepdims=True)
        exponentials = np.exp(sums - largest)
        totals = exponentials.sum(axis=1)
        value = weights @ (np.log(totals) + largest[:, 0]) - free[places].mean()
        slope = (weights / totals) @ exponentials - 1 / num_classes
        return float(value), np.bincount(places, slope)

    start = np.zeros(places.max() + 1)
    options = {"ftol": 1e-13, "gtol": 1e-7, "maxiter": 500}
    found = optimize.minimize(risk, start, jac=True, method="L-BFGS-B", options=options).x[places]
    prior = np.exp(found.min() - found)
    return prior / prior.sum()
