"""Data: sources, long-tailed subsets, transforms, loaders, test views, prompts, and what a run makes of them."""

from lift_jax.data.dataset import Dataset
from lift_jax.data.evaluation_loader import TestLoader, test_loader
from lift_jax.data.feature_loader import Examples, FeatureLoader
from lift_jax.data.feature_store import FeatureStore
from lift_jax.data.loader import TrainLoader, train_loader
from lift_jax.data.options import data_defaults
from lift_jax.data.randaugment import RandAugment
from lift_jax.data.run_data import RunData, evaluation_loader, load_run_data
from lift_jax.data.sources import load
from lift_jax.data.transforms import RandomResizedCrop, SquareCrop

__all__ = [
    "Dataset",
    "Examples",
    "FeatureLoader",
    "FeatureStore",
    "RandAugment",
    "RandomResizedCrop",
    "RunData",
    "SquareCrop",
    "TestLoader",
    "TrainLoader",
    "data_defaults",
    "evaluation_loader",
    "load",
    "load_run_data",
    "test_loader",
    "train_loader",
]
