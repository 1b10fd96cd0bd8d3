"""A finished run from which another one begins: `config.init_from`, and the members of a soup."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import ml_collections
import numpy as np
from etils import epath

from lift_jax import tuners
from lift_jax.classifier import network as networks
from lift_jax.classifier.network import Network
from lift_jax.data.shown import some
from lift_jax.errors import UserError
from lift_jax.files import place
from lift_jax.models.partition import HEAD, Parts
from lift_jax.training import trained
from lift_jax.tuners.options import SIZES
from lift_jax.weights import Backbone
from lift_jax.workdir import checkpoints, config_file, identity
from lift_jax.workdir.logs import Logs


class Source(NamedTuple):
    """A run that has trained something.

    Attributes:
        folder: its folder.
        config: its resolved config.
        checkpoint: the folder of the checkpoint that its results are of.
        identity: what the parameters in it belong to (see `lift_jax.workdir.identity.identify`).
    """

    folder: epath.Path
    config: ml_collections.FrozenConfigDict
    checkpoint: epath.Path
    identity: dict[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of its classes in label order."""
        return tuple(self.identity["class_names"])

    def network(self, backbone: Backbone) -> Network:
        """Gives its network with what it has trained, at its `config.tuner_strength`, on the devices."""
        method = tuners.resolve(self.config.method, self.config.tuner)
        network = networks.build(self.config, method, backbone, self.class_names)
        return trained.restored(self.checkpoint, self.config, backbone, network)

    def check_same(self, own: dict[str, Any], said: str, remedy: str, but_for: Sequence[str] = ()) -> None:
        """Refuses the run if what it has trained is of no use to another one; the sizes of tuners may differ.

        Args:
            own: the identity of the other run.
            said: how the sentence begins, which goes on with "was made with".
            remedy: how it ends.
            but_for: what may differ besides.

        Raises:
            UserError: with the first difference.
        """
        if found := identity.difference(self.identity, own, ("ema", *SIZES, *but_for)):
            raise UserError(
                f"{said} was made with another value of {found.what} ({found.there}, here {found.here}); {remedy}."
            )


def read(given: str, what: str) -> Source:
    """Finds a finished run.

    Args:
        given: its folder, as a person writes it.
        what: how the sentence of an error calls it, such as "config.init_from".

    Raises:
        UserError: if it is no run, has trained nothing, or has no whole checkpoint.
    """
    folder = place(given, what)
    if not (folder / config_file.FILE).is_file():
        raise UserError(
            f"{what} is {given}, which is no run of lift_jax: it has no {config_file.FILE}; name its folder."
        )
    config = config_file.read(folder)
    if tuners.resolve(config.method, config.tuner).zero_shot:
        raise UserError(f"{what} is {given}, whose method is zero_shot, which trains nothing; name another run.")
    checkpoint = checkpoints.chosen(folder)
    if checkpoint is None:
        raise UserError(f"{what} is {given}, which has no checkpoint yet; train it to the end of an epoch first.")
    return Source(folder, config, checkpoint, checkpoints.identity(checkpoint))


def begin_from(
    given: str, parts: Parts, network: Network, backbone: Backbone, own: dict[str, Any], logs: Logs
) -> Parts:
    """Lets a run begin with tuner and head of another one: those of its classes that are there by the same names.

    Args:
        given: `config.init_from`.
        parts: the parameters as they would start otherwise, from which the head's other classes start.
        network: of the run that begins.
        backbone: the foundation model of both.
        own: the identity of the run that begins.
        logs: get the number of classes that were found.

    Returns:
        The parts; tuner and head as NumPy arrays.

    Raises:
        UserError: if there is no such run, it has another backbone, method or head, its tuner has other sizes, or a
            name stands for several classes.
    """
    source = read(given, "config.init_from")
    said = f"config.init_from is {given}, which"
    source.check_same(own, said, "take the same here, or leave config.init_from out", but_for=["class_names"])
    known = source.network(backbone)
    tuner, head = jax.device_get((known.parts.tuner, known.parts.head))
    _check_sizes(given, known, network)
    if HEAD in head:
        rows = _same_classes(given, source.class_names, network.class_names)
        known_here = {here for _, here in rows}
        new = [name for label, name in enumerate(network.class_names) if label not in known_here]
        rest = f"; it does not have {some(new)}" if new else ""
        logs.info(f"{len(rows):,} of {len(network.class_names):,} classes start from those of {given}{rest}.")
        head = {HEAD: {name: _taken(head[HEAD][name], array, rows) for name, array in parts.head[HEAD].items()}}
    return parts._replace(tuner=tuner, head=head)


def _check_sizes(given: str, known: Network, network: Network) -> None:
    """Refuses a tuner whose arrays have other shapes, since its sizes by the rules depend on the number of classes."""
    shapes = [jax.tree.map(np.shape, each.parts.tuner) for each in (known, network)]
    if shapes[0] == shapes[1]:
        return
    there, here = (tuners.widths(each.method, each.tuning, each.parts.tuner) for each in (known, network))
    wider = [f"config.tuner.{key}={width}" for key, width in there.items() if width != here[key]]
    remedy = f"write {' and '.join(wider)}" if wider else f"give {', '.join(SIZES)} of config.tuner as they were there"
    raise UserError(
        f"config.init_from is {given}, whose tuner has other sizes than here (they follow from the number of "
        f"classes where none is given); {remedy}."
    )


def _same_classes(given: str, there: Sequence[str], here: Sequence[str]) -> list[tuple[int, int]]:
    """Gives the labels, there and here, of the classes with the same names.

    Raises:
        UserError: if a name that both have stands for several classes of one of them.
    """
    if list(there) == list(here):
        return [(label, label) for label in range(len(here))]
    common = set(there) & set(here)
    twice = sorted(name for name in common if there.count(name) > 1 or here.count(name) > 1)
    if twice:
        raise UserError(
            f"config.init_from is {given}, but {some(twice, 3)} is the name of several classes there or here, so that "
            "it cannot be told which of them are the same; give the classes names of their own."
        )
    return [(there.index(name), here.index(name)) for name in here if name in common]


def _taken(known: np.ndarray, start: np.ndarray, rows: Sequence[tuple[int, int]]) -> np.ndarray:
    """Puts columns of a known array, whose last axis are the classes, into that of another run."""
    taken = np.array(start, np.float32)
    for there, here in rows:
        taken[..., here] = known[..., there]
    return taken
