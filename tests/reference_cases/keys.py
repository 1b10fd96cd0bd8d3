"""From the names of arrays in a state dict of the reference implementation to paths in our tree of parameters."""

import re

import numpy as np

Path = tuple[str, ...]

LINEARS = {
    "attn.in_proj_": "attn_in/",
    "attn.out_proj.": "attn_out/",
    "mlp.c_fc.": "mlp_in/",
    "mlp.c_proj.": "mlp_out/",
}
BIASES = ("attn_in", "attn_out", "ln_1", "mlp_in", "mlp_out", "ln_2")  # PyTorch's order within a block
LEAVES = {"ln.weight": "ln/scale", "down_proj.weight": "down_proj/kernel", "up_proj.weight": "up_proj/kernel"}
LAYERS_OF_MLP_LORA = {"1": "mlp_in", "2": "mlp_out"}


def path_of(key: str, prompts: str) -> Path:
    """The path in a classifier's tree.

    Args:
        key: for example `tuner.adaptformer_list.2.down_proj.weight`.
        prompts: the tuner that `tuner.vpt_list` belongs to, vpt_shallow or vpt_deep.
    """
    if key.startswith("head."):
        return "head", {"weight": "kernel", "bias": "bias"}[key.removeprefix("head.")]
    kind, number, rest = re.fullmatch(r"tuner\.(\w+?)(?:_list)?\.(\d+)(?:\.(.+))?", key).groups(default="")  # pyright: ignore[reportOptionalMemberAccess]
    if kind == "bias_tuned":
        block, place = divmod(int(number), len(BIASES))
        return "backbone", f"block_{block}", BIASES[place], "bias"
    if kind == "ln_tuned":
        block, place = divmod(int(number), 2)
        return "backbone", f"block_{block}", f"ln_{place + 1}", _norm(rest)
    return "backbone", f"block_{number}", *_within_block(kind, rest, prompts)


def _within_block(kind: str, rest: str, prompts: str) -> Path:
    if kind == "block_tuned":
        if rest.startswith("ln_"):
            norm, leaf = rest.split(".")
            return norm, _norm(leaf)
        name = next(name for name in LINEARS if rest.startswith(name))
        leaf = rest.removeprefix(name)
        return tuple(f"{LINEARS[name]}{'kernel' if leaf == 'weight' else leaf}".split("/"))
    if kind == "vpt":
        return f"tuner_{prompts}", rest
    if kind == "masked_linear":
        layer, leaf = rest.split(".")
        return "tuner_mask", layer, leaf.removeprefix("optimized_")
    if kind == "lora_mlp":
        layer, leaf = rest.split(".")
        return "tuner_lora_mlp", LAYERS_OF_MLP_LORA[layer], leaf
    return f"tuner_{kind}", *LEAVES.get(rest, rest.replace(".", "/")).split("/")


def _norm(leaf: str) -> str:
    return {"weight": "scale", "bias": "bias"}[leaf]


def transpose(path: Path, array: np.ndarray) -> np.ndarray:
    """PyTorch's layout to ours, or back."""
    return array.T if path[-1] == "kernel" else array


def mask_positions(packed: np.ndarray, outputs: int, is_weight: bool) -> np.ndarray:
    """Flat positions in our kernel or bias of the entries that a bit-packed mask in PyTorch's layout chooses."""
    chosen = np.flatnonzero(np.unpackbits(packed))
    if not is_weight:
        return chosen.astype(np.int32)
    inputs = packed.size * 8 // outputs
    row, column = np.divmod(chosen, inputs)
    return (column * outputs + row).astype(np.int32)
