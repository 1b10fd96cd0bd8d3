"""Data: sources, long-tailed subsets, transforms, the loader, test views and prompts."""

from lift_jax.data.dataset import Dataset
from lift_jax.data.evaluation_loader import TestLoader, test_loader
from lift_jax.data.loader import TrainLoader, train_loader
from lift_jax.data.options import data_defaults
from lift_jax.data.randaugment import RandAugment
from lift_jax.data.sources import load
from lift_jax.data.transforms import RandomResizedCrop, SquareCrop

__all__ = [
    "Dataset",
    "RandAugment",
    "RandomResizedCrop",
    "SquareCrop",
    "TestLoader",
    "TrainLoader",
    "data_defaults",
    "load",
    "test_loader",
    "train_loader",
]
