"""The steps of `lift_jax.bench.step` in PyTorch, on transformers' CLIPVisionModel."""

import tempfile
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
import torch.nn.functional as F  # pyright: ignore[reportMissingImports]
from torch import nn  # pyright: ignore[reportMissingImports]
from transformers import CLIPVisionModel  # pyright: ignore[reportMissingImports]

from lift_jax.bench.workload import LR, MOMENTUM, PEAK_SIDE, WEIGHT_DECAY, Workload
from lift_jax.models import partition
from lift_jax.weights import huggingface, layout


class AdaptedMLP(nn.Module):
    """Replaces a block's MLP and the layer norm before it, which AdaptFormer's branch does not pass."""

    def __init__(self, norm: nn.Module, mlp: nn.Module, params: partition.Tree):
        super().__init__()
        self.norm, self.mlp = norm, mlp
        width, dim = params["down_proj"]["kernel"].shape
        self.ln, self.down, self.up = nn.LayerNorm(width), nn.Linear(width, dim), nn.Linear(dim, width)
        self.scale = nn.Parameter(_tensor(params["scale"]))
        _load(self.ln, params["ln"]["scale"], params["ln"]["bias"])
        for linear, own in (self.down, params["down_proj"]), (self.up, params["up_proj"]):
            _load(linear, own["kernel"].T, own["bias"])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.mlp(self.norm(x)) + self.scale * self.up(F.relu(self.down(self.ln(x))))

    def trained(self) -> dict[str, Any]:
        """Gives the adapter's parameters as a block of the package's tree has them."""
        dense = {
            name: {"kernel": _array(linear.weight.T), "bias": _array(linear.bias)}
            for name, linear in (("down_proj", self.down), ("up_proj", self.up))
        }
        norm = {"scale": _array(self.ln.weight), "bias": _array(self.ln.bias)}
        return {"tuner_adaptformer": {**dense, "ln": norm, "scale": _array(self.scale)}}


class TorchStep:
    """Takes PyTorch's steps with the weights of the workload's tree; what is not trained asks for no gradient.

    Args:
        workload: what is computed. In bfloat16 the frozen weights are, and the rest is left to autocast.
        device: PyTorch's name of it.
        backend: of torch.compile, by which the network's program is made; None for eager execution.
    """

    def __init__(self, workload: Workload, device: str = "cpu", backend: str | None = None):
        parts = workload.parts()
        frozen, tuners = parts.frozen["backbone"], parts.tuner["backbone"]
        with tempfile.TemporaryDirectory() as folder:
            config = dict(model_type="clip_vision_model", image_size=workload.resolution)
            config |= layout.tower_config(workload.vision) | dict(patch_size=workload.vision.patch_size)
            huggingface.save(folder, config, {"vision": frozen})
            backbone: Any = CLIPVisionModel.from_pretrained(folder).requires_grad_(False)
        self._device, self._mixed = device, np.dtype(workload.vision.dtype).itemsize == 2
        if self._mixed:
            backbone = backbone.to(torch.bfloat16)
            for norm in (module for module in backbone.modules() if isinstance(module, nn.LayerNorm)):
                norm.float()  # as autocast computes them
        blocks: Any = backbone.encoder.layers
        for i, block in enumerate(blocks):
            adapter = tuners[f"block_{i}"]["tuner_adaptformer"]
            block.mlp = AdaptedMLP(block.layer_norm2, block.mlp, adapter)
            block.layer_norm2 = nn.Identity()
        self.backbone = backbone.to(device)
        self._adapted = [block.mlp for block in blocks]
        self.head = nn.Parameter(_tensor(parts.head["head"]["kernel"].T).to(device))
        self._of_images = torch.compile(self._logits, backend=backend) if backend else self._logits
        trained = [p for p in self.backbone.parameters() if p.requires_grad]
        self._optimizer = torch.optim.SGD([*trained, self.head], LR, momentum=MOMENTUM, weight_decay=WEIGHT_DECAY)
        self._accumulate = workload.accumulate or 1
        rows = workload.rows()
        self._images = torch.from_numpy(rows["image"]).to(device)
        self._labels = torch.from_numpy(rows["label"]).long().to(device)
        self._mean = torch.tensor(huggingface.CLIP_MEAN, device=device)
        self._std = torch.tensor(huggingface.CLIP_STD, device=device)
        counts = torch.from_numpy(workload.class_counts).float()
        self._log_prior = torch.log(counts / counts.sum()).to(device)
        self._square = torch.ones(PEAK_SIDE, PEAK_SIDE)

    def _logits(self, images: torch.Tensor) -> torch.Tensor:
        images = ((images.float() / 255 - self._mean) / self._std).permute(0, 3, 1, 2)
        with torch.autocast(self._device, torch.bfloat16, enabled=self._mixed):
            features = self.backbone(images).pooler_output.float()
        return 25.0 * F.normalize(features) @ F.normalize(self.head).T

    def train(self) -> float:
        self._optimizer.zero_grad()
        total = 0.0
        parts = zip(self._images.chunk(self._accumulate), self._labels.chunk(self._accumulate), strict=True)
        for images, labels in parts:
            loss = F.cross_entropy(self._of_images(images) + self._log_prior, labels) / self._accumulate
            loss.backward()
            total += loss.item()
        self._optimizer.step()
        return total

    def evaluate(self) -> tuple[np.ndarray, np.ndarray]:
        with torch.inference_mode():
            confidence, prediction = self._of_images(self._images).softmax(dim=-1).max(dim=-1)
        return prediction.cpu().numpy(), confidence.cpu().numpy()

    def memory(self) -> str:
        """Gives the most memory of the device that was in use so far."""
        on_gpu = self._images.is_cuda
        return f"{torch.cuda.max_memory_allocated() / 2**30:.1f} GiB" if on_gpu else "unknown"

    def product(self) -> None:
        torch.mm(self._square, self._square)

    def trained(self) -> dict[str, Any]:
        blocks = {f"block_{i}": mlp.trained() for i, mlp in enumerate(self._adapted)}
        return {partition.TUNER: {"backbone": blocks}, partition.HEAD: {"head": {"kernel": _array(self.head.T)}}}


def _tensor(array: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.array(array))


def _array(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().numpy().copy()


def _load(module: nn.Module, weight: np.ndarray, bias: np.ndarray) -> None:
    module.load_state_dict({"weight": _tensor(weight), "bias": _tensor(bias)})
