"""The kinds of image towers."""

from lift_jax.models.convnext import ConvNeXt
from lift_jax.models.resnet import ResNet
from lift_jax.models.vit import VisionTransformer

Convolutional = ResNet | ConvNeXt

Tower = VisionTransformer | Convolutional
