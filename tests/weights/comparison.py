"""What the parity tests share: random weights for a peer, images, and the comparison."""

from typing import Any

import numpy as np

TOLERANCE = 2e-5
"""Relative to the largest magnitude of the array, as the reference cases have it."""


def randomize(module, seed=0):
    """Moves every weight of a PyTorch module, so that none has a special value such as 0 or 1; in evaluation mode."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        # Of the buffers the statistics alone: a mask is one, too.
        statistics = [(name, array) for name, array in module.named_buffers() if "running_" in name]
        for name, array in [*module.named_parameters(), *statistics]:
            noise = torch.randn(array.shape, generator=generator).to(array.dtype)
            # Variances stay positive.
            array.mul_((0.3 * noise).exp()) if name.endswith("running_var") else array.add_(0.05 * noise)
    return module.requires_grad_(False).eval()


def random_images(number, side, seed=0):
    """Normalised images, (number, side, side, 3) float32."""
    return np.random.default_rng(seed).normal(size=(number, side, side, 3)).astype(np.float32)


def t(images):
    """The images as PyTorch has them, (n, 3, h, w)."""
    import torch

    return torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2)))


def assert_close(ours, theirs, tolerance=TOLERANCE):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    assert ours.shape == theirs.shape
    difference = np.abs(ours - theirs).max() / np.abs(theirs).max()
    assert difference <= tolerance, f"relative difference {difference:.2e}"


def features(backbone, images) -> Any:
    """What the head sees, with products in full float32 on every device."""
    import jax

    with jax.default_matmul_precision("highest"):
        return jax.jit(backbone.vision.apply)({"params": backbone.params["vision"]}, images)


def outputs(backbone, images, tokens) -> Any:
    """The features of both towers and the zero-shot logits."""
    import jax

    with jax.default_matmul_precision("highest"):
        return jax.jit(backbone.clip().apply)({"params": backbone.params}, images, tokens)


def random_tokens(number, length, vocab_size, seed=0):
    """Token ids whose largest, the end of the text, is once in each row and at different places."""
    tokens = np.random.default_rng(seed).integers(0, vocab_size - 1, (number, length))
    tokens[np.arange(number), 1 + np.arange(number) * 3 % (length - 1)] = vocab_size - 1
    return tokens.astype(np.int32)
