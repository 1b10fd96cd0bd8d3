"""How large the inputs of a block's linear layers can be, by its weights alone.

A layer norm's output is y = γ ∘ z + β, where z has at most the length sqrt(d), whatever the input is
(`lift_jax.models.layer_norm`). So |y_i| ≤ sqrt(d) |γ_i| + |β_i|, and after the linear layer W, b, by the inequality of
Cauchy and Schwarz, |(y W + b)_o| ≤ sqrt(d) |γ ∘ W_o| + |β W_o + b_o|. Attention gives averages of the values, and no
activation of a `Block` is larger than its input.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from lift_jax.models.sites import LinearName

Arrays = Mapping[str, Any]


def limits(block: Mapping[str, Arrays]) -> dict[LinearName, float]:
    """Computes the largest magnitude that an input of each linear layer can have.

    What a tuner adds between the norm and the layer is not counted.

    Args:
        block: the parameters of a `lift_jax.models.transformer.Block`, by its modules and their own names.
    """
    values = _after(block["ln_1"], block["attn_in"])[-block["attn_out"]["kernel"].shape[0] :]
    hidden, width = _after(block["ln_2"], block["mlp_in"]), block["mlp_out"]["kernel"].shape[0]
    if len(hidden) == 2 * width:  # gated
        hidden = hidden[:width] * hidden[width:]
    return {
        "attn_in": _largest(block["ln_1"]),
        "attn_out": _largest(block["ln_attn"]) if "ln_attn" in block else float(values.max()),
        "mlp_in": _largest(block["ln_2"]),
        "mlp_out": _largest(block["ln_mlp"]) if "ln_mlp" in block else float(hidden.max()),
    }


def _largest(norm: Arrays) -> float:
    scale, bias = _affine(norm)
    return float((np.sqrt(len(scale)) * np.abs(scale) + np.abs(bias)).max())


def _after(norm: Arrays, linear: Arrays) -> Float[np.ndarray, " o"]:
    """Returns the bound of each output of a linear layer that follows a norm."""
    scale, bias = _affine(norm)
    kernel = np.asarray(linear["kernel"], np.float32)
    spread = np.sqrt(len(scale)) * np.linalg.norm(scale[:, None] * kernel, axis=0)
    return spread + np.abs(bias @ kernel + np.asarray(linear["bias"], np.float32))


def _affine(norm: Arrays) -> tuple[Float[np.ndarray, " d"], Float[np.ndarray, " d"]]:
    """Returns the scale and the bias of a norm, of which an RMSNorm has none."""
    scale = np.asarray(norm["scale"], np.float32)
    return scale, np.asarray(norm.get("bias", np.zeros_like(scale)), np.float32)
