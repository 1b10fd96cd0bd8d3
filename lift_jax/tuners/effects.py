"""How the effect of a tuner is scaled, and that of several averaged, by its parameters alone.

The effect of a tuner is what it adds to the network in which it acts: to a weight, or to the output of a layer. It is
scaled or averaged by giving the tuner other parameters, and maybe a wider bottleneck; the modules know nothing of it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from lift_jax.models.partition import Tree


class Effect(Protocol):
    """What is known of the effect of a kind of tuner."""

    def scaled(self, params: Tree, start: Tree, strength: float) -> Tree:
        """Gives the parameters whose effect is `strength` times that of `params`.

        Args:
            params: of the tuner, in all blocks.
            start: the parameters before the training.
            strength: from 0, where the tuner has no effect, to 1.
        """
        ...

    def averaged(self, members: Sequence[Tree], shares: Sequence[float], width: int) -> Tree:
        """Gives the parameters whose effect is the weighted mean of the members'.

        Args:
            members: the parameters of each one, in all blocks.
            shares: of each one; their sum is 1.
            width: of the result's bottlenecks or products where tuners have these, at least the sum of the members'.
        """
        ...

    def width(self, params: Tree) -> int:
        """Gives the width of the bottlenecks or products; 0 where there are none."""
        ...


class Weights:
    """Weights of the network itself: their effect is their distance from where they started."""

    def scaled(self, params: Tree, start: Tree, strength: float) -> Tree:
        return jax.tree.map(lambda x, at: at + strength * (x - at), params, start)

    def averaged(self, members: Sequence[Tree], shares: Sequence[float], width: int) -> Tree:
        return jax.tree.map(lambda *arrays: _mean(arrays, shares), *members)

    def width(self, params: Tree) -> int:
        return 0


class ScalesAndShifts(Weights):
    """Factors and summands after an operation, such as SSF's: their effect is their distance from one and zero."""

    def scaled(self, params: Tree, start: Tree, strength: float) -> Tree:
        identity = jax.tree_util.tree_map_with_path(lambda path, x: float(path[-1].key == "scale"), params)
        return super().scaled(params, identity, strength)


class Products:
    """Products x A B / r of rank r, such as LoRA's. Their mean is one product, of the sum of the ranks: exactly.

    A and B are never averaged apart, since the product of their means is not the mean of the products.
    """

    def scaled(self, params: Tree, start: Tree, strength: float) -> Tree:
        return _each(_is_product, lambda unit: {**unit, "lora_B": strength * unit["lora_B"]}, params)

    def averaged(self, members: Sequence[Tree], shares: Sequence[float], width: int) -> Tree:
        def product(*units: Tree) -> Tree:
            # Each member was divided by its own rank, and will be by that of the result.
            factors = [share * width / unit["lora_A"].shape[1] for share, unit in zip(shares, units, strict=True)]
            return {
                "lora_A": _joined([unit["lora_A"] for unit in units], 1, width),
                "lora_B": _joined([f * unit["lora_B"] for f, unit in zip(factors, units, strict=True)], 0, width),
            }

        return _each(_is_product, product, *members)

    def width(self, params: Tree) -> int:
        return _widest(params, lambda path: path[-1] == "lora_A")


class Branches:
    """Branches s · up(relu(down(ln(x)))), such as AdaptFormer's. Their mean is one branch, of all their hidden units.

    It is exact for any members: the mean of their parameters would mean something only if the hidden units of one
    corresponded to those of the other.
    """

    def scaled(self, params: Tree, start: Tree, strength: float) -> Tree:
        def weaker(unit: Tree) -> Tree:
            return {**unit, "up_proj": {name: strength * x for name, x in unit["up_proj"].items()}}

        return _each(_is_branch, weaker, params)

    def averaged(self, members: Sequence[Tree], shares: Sequence[float], width: int) -> Tree:
        def branch(*units: Tree) -> Tree:
            """The scale and shift of `ln` go into `down`, a learnt s into `up`: these can be put side by side."""
            first = units[0]
            down = [unit["ln"]["scale"][:, None] * unit["down_proj"]["kernel"] for unit in units]
            bias = [unit["ln"]["bias"] @ unit["down_proj"]["kernel"] + unit["down_proj"]["bias"] for unit in units]
            factors = [share * unit.get("scale", 1.0) for share, unit in zip(shares, units, strict=True)]
            up = [factor * unit["up_proj"]["kernel"] for factor, unit in zip(factors, units, strict=True)]
            shift = sum(factor * unit["up_proj"]["bias"] for factor, unit in zip(factors, units, strict=True))
            joined = {
                "ln": {"scale": jnp.ones_like(first["ln"]["scale"]), "bias": jnp.zeros_like(first["ln"]["bias"])},
                "down_proj": {"kernel": _joined(down, 1, width), "bias": _joined(bias, 0, width)},
                "up_proj": {"kernel": _joined(up, 0, width), "bias": shift},
            }
            return joined | ({"scale": jnp.ones_like(first["scale"])} if "scale" in first else {})

        return _each(_is_branch, branch, *members)

    def width(self, params: Tree) -> int:
        return _widest(params, lambda path: path[-2:] == ("down_proj", "bias"))


def _mean(arrays: Sequence[Any], shares: Sequence[float]) -> Any:
    return sum(share * array for share, array in zip(shares, arrays, strict=True))


def _each(is_unit: Callable[[Any], bool], change: Callable[..., Tree], *trees: Tree) -> Tree:
    return jax.tree.map(change, *trees, is_leaf=is_unit)


def _is_product(node: Any) -> bool:
    return isinstance(node, Mapping) and "lora_A" in node


def _is_branch(node: Any) -> bool:
    return isinstance(node, Mapping) and "up_proj" in node


def _joined(arrays: Sequence[Any], axis: int, width: int) -> Any:
    """Puts arrays side by side, and zeros beside them up to a width; hidden units of zeros have no effect."""
    joined = jnp.concatenate(arrays, axis)
    missing = [(0, width - joined.shape[axis] if each == axis else 0) for each in range(joined.ndim)]
    return jnp.pad(joined, missing)


def _widest(params: Tree, is_wide: Callable[[tuple[str, ...]], bool]) -> int:
    """Gives the largest last axis of the arrays that `is_wide` tells by their paths."""
    named = [(tuple(key.key for key in path), x) for path, x in jax.tree.leaves_with_path(params)]
    return max((x.shape[-1] for path, x in named if is_wide(path)), default=0)
