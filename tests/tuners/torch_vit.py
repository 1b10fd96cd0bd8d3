"""A tuned CLIP vision transformer in PyTorch, written from the definitions.

The parameters are our tree, so linear weights are (inputs, outputs).
"""

import torch
import torch.nn.functional as F

EPSILON = 1e-5


def quick_gelu(x):
    return x * torch.sigmoid(1.702 * x)


ACTIVATIONS = {"quick_gelu": quick_gelu, "gelu": F.gelu}


def norm(p, x):
    return F.layer_norm(x, x.shape[-1:], p["scale"], p["bias"], EPSILON)


def dense(p, x):
    return x @ p["kernel"] + p["bias"]


def bottleneck(p, x):
    return dense(p["up_proj"], F.relu(dense(p["down_proj"], norm(p["ln"], x))))


def low_rank(p, x):
    return x @ p["lora_A"] @ p["lora_B"] / p["lora_A"].shape[1]


def scale_shift(p, y):
    return y if p is None else y * p["scale"] + p["shift"]


def masked(p, linear):
    """The linear layer with the entries of the mask in the place of its own."""
    result = dict(linear)
    for ours, theirs in (("weight", "kernel"), ("bias", "bias")):
        if p is not None and ours in p:
            flat = linear[theirs].flatten()
            index = p[f"{ours}_index"].long()
            keep = torch.ones_like(flat).index_fill(0, index, 0.0)
            result[theirs] = (flat * keep + torch.zeros_like(flat).index_add(0, index, p[ours])).reshape(
                linear[theirs].shape
            )
    return result


def attention(qkv, heads):
    b, t, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    q, k, v = (part.reshape(b, t, heads, -1).transpose(1, 2) for part in qkv.split(width, dim=-1))
    return F.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(b, t, width)


def block(p, x, length, heads, activation, scale):
    def tuner(name, site=None):
        found = p.get(f"tuner_{name}")
        return found if found is None or site is None else found.get(site)

    vpt = tuner("vpt_shallow") or tuner("vpt_deep")
    if vpt:
        x = torch.cat([x[:, :length], vpt["prompt"].expand(len(x), -1, -1)], dim=1)

    h = scale_shift(tuner("ssf_ln", "ln_1"), norm(p["ln_1"], x))
    qkv = dense(masked(tuner("mask", "attn_in"), p["attn_in"]), h)
    if lora := tuner("lora"):
        q, k, v = qkv.split(qkv.shape[-1] // 3, dim=-1)
        qkv = torch.cat([q + low_rank(lora["q"], h), k, v + low_rank(lora["v"], h)], dim=-1)
    h = attention(scale_shift(tuner("ssf_attn", "attn_in"), qkv), heads)
    x = x + scale_shift(tuner("ssf_attn", "attn_out"), dense(masked(tuner("mask", "attn_out"), p["attn_out"]), h))

    h = scale_shift(tuner("ssf_ln", "ln_2"), norm(p["ln_2"], x))
    for name in ("mlp_in", "mlp_out"):
        y = dense(masked(tuner("mask", name), p[name]), h)
        if lora := tuner("lora_mlp", name):
            y = y + low_rank(lora, h)
        y = scale_shift(tuner("ssf_mlp", name), y)
        h = activation(y) if name == "mlp_in" else y
    if adapter := tuner("adapter"):
        h = h + bottleneck(adapter, h)
    if adaptformer := tuner("adaptformer"):
        h = h + adaptformer.get("scale", scale) * bottleneck(adaptformer, x)
    return x + h


def features(p, images, heads, activation, scale):
    """Images (b, h, w, 3) to the class token after the last layer norm; `scale` is AdaptFormer's where it is fixed."""
    kernel = p["patch_embedding"].permute(3, 2, 0, 1)
    patches = F.conv2d(images.permute(0, 3, 1, 2), kernel, stride=kernel.shape[-1]).flatten(2).transpose(1, 2)
    x = torch.cat([p["class_embedding"].expand(len(images), 1, -1), patches], dim=1) + p["position_embedding"]
    x = norm(p["ln_pre"], x)
    length = x.shape[1]
    for i in range(sum(name.startswith("block_") for name in p)):
        x = block(p[f"block_{i}"], x, length, heads, ACTIVATIONS[activation], scale)
    return norm(p["ln_post"], x[:, 0])
