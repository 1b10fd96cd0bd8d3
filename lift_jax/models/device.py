"""Networks in the form that suits a device."""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np

from lift_jax.models import attention_kernels
from lift_jax.models.attention_kernels import Attention
from lift_jax.models.convnext import ConvNeXt
from lift_jax.models.heads import Classifier
from lift_jax.models.resnet import EXPANSION, ResNet
from lift_jax.models.text_head import TextHead

Choose = Callable[[np.dtype, int], Attention]
"""Chooses who computes attention, given the dtype of the activations and the width of a head."""


def suited_to(device: Any | None, classifier: Classifier) -> Classifier:
    """Gives a classifier whose towers compute attention by what is best on a device, with the same parameters.

    Args:
        device: one of the devices that it will run on; None for a program that is for
            all kinds, such as an exported one.
        classifier: the classifier, in any form.
    """
    if device is None:
        return with_attention(lambda dtype, head_dim: "plain", classifier)
    return with_attention(functools.partial(attention_kernels.best, device), classifier)


def with_attention(choose: Choose, classifier: Classifier) -> Classifier:
    """Gives a classifier whose towers compute attention by what is chosen for them, with the same parameters."""
    head = classifier.head
    if isinstance(head, TextHead):
        head = head.clone(tower=_chosen(choose, head.tower))
    return Classifier(_chosen(choose, classifier.backbone), head)


def _chosen(choose: Choose, tower: Any) -> Any:
    if isinstance(tower, ConvNeXt):  # which has no attention
        return tower
    width = 8 * EXPANSION * tower.stem_width if isinstance(tower, ResNet) else tower.width
    return tower.clone(attention=choose(np.dtype(tower.dtype), width // tower.num_heads))
