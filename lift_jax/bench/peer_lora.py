"""LoRA by PEFT, trained by the Trainer of transformers, as their guides write it."""

import tempfile
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from jaxtyping import Float, Int
from peft import LoraConfig, get_peft_model  # pyright: ignore[reportMissingImports]
from transformers import (  # pyright: ignore[reportMissingImports]
    AutoModelForImageClassification,
    Trainer,
    TrainingArguments,
    set_seed,
)

_TARGETS = r".*\.(q_proj|v_proj|query|value)"
"""Queries and values, by the names that CLIP's image tower and those of DINOv2 and ViT have for them."""

Row = tuple[Float[np.ndarray, "h w 3"], int]
"""A normalised image and its label."""


class _Rows(torch.utils.data.IterableDataset):
    """Training images in the order in which they come."""

    def __init__(self, rows: Iterator[Row]):
        self._rows = rows

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for image, label in self._rows:
            yield {"pixel_values": torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))), "labels": label}


class Lora:
    """A backbone with LoRA at its queries and values and a new linear head, trained with cross-entropy and AdamW.

    Args:
        folder: of the backbone, in transformers' own format.
        num_classes: of the head.
        seed: of the head, of LoRA and of its dropout.
        rank: of LoRA.
        lr: learning rate at the first step, from which it falls in a straight line to zero.
    """

    def __init__(self, folder: Any, num_classes: int, seed: int, rank: int, lr: float):
        set_seed(seed)
        model = AutoModelForImageClassification.from_pretrained(
            str(folder), num_labels=num_classes, dtype=torch.float32
        )  # and not in that of the file, in which half precision would be trained
        adapted = LoraConfig(
            r=rank, lora_alpha=16, target_modules=_TARGETS, lora_dropout=0.1, modules_to_save=["classifier"]
        )
        self._model: Any = get_peft_model(model, adapted)
        self._seed, self._lr = seed, lr
        self.num_trained = sum(p.numel() for p in self._model.parameters() if p.requires_grad)
        """Trained parameters, the head's with them."""

    def train(self, rows: Iterator[Row], steps: int, batch_size: int) -> None:
        """Trains for so many steps.

        Args:
            rows: the images of all epochs, one after the other.
            steps: batches of them.
            batch_size: images of a step.
        """
        with tempfile.TemporaryDirectory() as folder:
            arguments = TrainingArguments(
                folder, max_steps=steps, per_device_train_batch_size=batch_size, learning_rate=self._lr,
                seed=self._seed, save_strategy="no", logging_strategy="no", report_to=[], disable_tqdm=True,
                remove_unused_columns=False, dataloader_pin_memory=False,
            )  # fmt: skip
            Trainer(self._model, arguments, train_dataset=_Rows(rows)).train()

    def predict(self, images: Float[np.ndarray, "n h w 3"]) -> Int[np.ndarray, " n"]:
        """Gives the class of each normalised image."""
        model = self._model.eval()
        pixels = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2))).to(model.device)
        with torch.no_grad():
            return model(pixel_values=pixels).logits.argmax(-1).cpu().numpy()
