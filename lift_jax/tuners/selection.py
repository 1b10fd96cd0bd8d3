"""Methods that train what the backbone has: rules over the paths of its parameters."""

from lift_jax.state import Path


def full(path: Path) -> bool:
    """Every parameter of the blocks: not the embeddings, nor the layer norms outside the blocks."""
    return path[0].startswith("block_")
