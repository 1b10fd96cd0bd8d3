r"""Compiles the training and the evaluation step for TPUs and GPUs that need not be here, and says what they need.

    python -m lift_jax.bench.aot --config configs/inat.py --topology v5e-256 [--batch 128] [--classes N] [--fit]
        [--by_layer] [--families NAME,NAME,...] [--config.KEY=VALUE ...]

Neither data nor weights are read: the shapes follow from the config, and the number of classes from its data set or
from --classes. A topology is a generation and a size of TPUs as Google Cloud counts them (v5e-16; for v4 and v5p two
cores a chip: v4-32 has 16 chips), a kind and a number of NVIDIA GPUs (h100, h200-8), or cpu for this machine. The
compiler for TPUs is libtpu (pip install 'jax[tpu]'), and that for GPUs comes with JAX's plugin for them (pip install
'jax[cuda12]'); for neither is a device needed.

--families compiles the training step of each of some backbones, by their short names or hub ids (python -m
lift_jax.backbones lists them), in a process of its own, and estimates from its bytes the largest batch on a v5e, a v6e
and an H100. A row is printed as soon as it is there; that of a program which does not compile says why, and the exit
status is then 1.

--by_layer lists the bytes that are read and written, by layer and operation.

All numbers are of one chip. The roofline time is the longer of operations / peak and bytes accessed / bandwidth of the
memory, by the compiler's counts, in which arrays that stay on the chip are bytes accessed too: an estimate. For GPUs
the compiler counts nothing: operations are the ideal ones, and bytes those of each kernel's operands and results.
"""

from collections.abc import Sequence

from absl import flags
from ml_collections import config_flags

from lift_jax import command_line
from lift_jax.errors import UserError

_CONFIG = config_flags.DEFINE_config_file("config", None, "The config file, such as configs/inat.py.")
_TOPOLOGY = flags.DEFINE_string("topology", "cpu", "TPUs such as v5e-256, GPUs such as h100, or cpu for this machine.")
_BATCH = flags.DEFINE_integer("batch", 128, "Training images a chip.", lower_bound=1)
_CLASSES = flags.DEFINE_integer("classes", 0, "Number of classes; by default that of the config's data set.")
_FAMILIES = flags.DEFINE_list("families", [], "Backbones with commas between: estimate the largest batch of each.")
_BY_LAYER = flags.DEFINE_boolean("by_layer", False, "List the bytes by layer and operation.")
_FIT = flags.DEFINE_boolean("fit", False, "Find the largest training batch a chip for each value of config.remat.")

CLASSES = {
    "i_naturalist2018": 8142,
    "imagenet_lt": 1000,
    "places_lt": 365,
    "cifar100": 100,
    "cifar10": 10,
    "letters": 50,
    "digits": 10,
}
"""Of the benchmarks, by config.data.name."""


def main(argv: Sequence[str]) -> None:
    """Runs what the flags say."""
    if len(argv) > 1:
        raise UserError(f"The argument {argv[1]!r} belongs to no flag; see --help.")
    if _CONFIG.value is None:
        raise UserError("No config is given; write --config FILE, such as --config configs/inat.py.")
    config, name = _CONFIG.value, _TOPOLOGY.value
    num_classes = _CLASSES.value or CLASSES.get(config.data.name, 0)
    if num_classes < 1:
        raise UserError(
            f"The number of classes of config.data.name={config.data.name!r} is not known without its data; write "
            "--classes N."
        )
    from lift_jax import config as lift_config
    from lift_jax.bench import families, plan

    if config.dtype == "auto" and name != "cpu":
        config.dtype = "bfloat16"
    target = plan.target(name)
    given = lift_config.resolve(config), num_classes, target, _BATCH.value
    if _FAMILIES.value:
        lines = families.table(*given, _FAMILIES.value)
    else:
        lines = plan.fit(*given) if _FIT.value else plan.both(*given, by_layer=_BY_LAYER.value)
    for line in lines:
        print(line, flush=True)


def entry_point() -> None:
    """Runs the command with the process's own flags."""
    command_line.run(main, __doc__, (_CONFIG, _TOPOLOGY, _BATCH, _CLASSES, _FAMILIES, _FIT, _BY_LAYER))


if __name__ == "__main__":
    entry_point()
