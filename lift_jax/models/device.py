"""Networks in the form that suits a device."""

from typing import Any

import numpy as np

from lift_jax.models import attention_kernels
from lift_jax.models.convnext import ConvNeXt
from lift_jax.models.heads import Classifier
from lift_jax.models.resnet import EXPANSION, ResNet
from lift_jax.models.text_head import TextHead


def suited_to(device: Any | None, classifier: Classifier) -> Classifier:
    """Gives a classifier whose towers compute attention by what is best on a device, with the same parameters.

    Args:
        device: one of the devices that it will run on; None for a program that is for
            all kinds, such as an exported one.
        classifier: the classifier, in any form.
    """
    head = classifier.head
    if isinstance(head, TextHead):
        head = head.clone(tower=_suited(device, head.tower))
    return Classifier(_suited(device, classifier.backbone), head)


def _suited(device: Any | None, tower: Any) -> Any:
    if isinstance(tower, ConvNeXt):  # which has no attention
        return tower
    if device is None:
        return tower.clone(attention="plain")
    width = 8 * EXPANSION * tower.stem_width if isinstance(tower, ResNet) else tower.width
    return tower.clone(attention=attention_kernels.best(device, np.dtype(tower.dtype), width // tower.num_heads))
