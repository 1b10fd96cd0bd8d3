"""The average of several runs, which is a run itself (model soups: Wortsman et al. 2022, arXiv 2203.05482).

In the order "lt" (LT-Soups: Aminbeidokhti et al. 2025, arXiv 2511.10683) the runs are merged one after the other into
the backbone as it was: theta <- keep theta + (1 - keep) theta_i. That each was trained on images of capped classes, and
that the head alone is then trained on all images, is up to config.data.cap and config.head_alone.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import ml_collections
from etils import epath

from lift_jax import tuners
from lift_jax.classifier import network as networks
from lift_jax.classifier.loaded import Loaded
from lift_jax.classifier.network import Network
from lift_jax.cluster import placement
from lift_jax.errors import UserError
from lift_jax.evaluation import metrics
from lift_jax.evaluation.evaluator import Evaluator
from lift_jax.files import place, write_json
from lift_jax.models.heads import mean_head
from lift_jax.models.partition import HEAD, TUNER, Parts
from lift_jax.run import Results, alike, check, run, source
from lift_jax.run.source import Source
from lift_jax.training import objective
from lift_jax.training.state import initial_state
from lift_jax.weights import Backbone
from lift_jax.workdir import config_file, one_label, storage
from lift_jax.workdir.checkpoints import Checkpoints, Saved
from lift_jax.workdir.identity import identify
from lift_jax.workdir.logs import Logs

Scores = dict[str, float]
Some = tuple[int, ...]
"""Some of the runs, by their places among all."""


@dataclasses.dataclass(frozen=True)
class _Member:
    """A run that may go into the soup.

    Attributes:
        source: the run.
        parts: what it has trained, at its strength, as NumPy arrays; the frozen part is left out.
        widths: of its tuner (see `lift_jax.tuners.widths`).
    """

    source: Source
    parts: Parts
    widths: Mapping[str, int]


KEEP = 0.7
"""What the order "lt" keeps at each run of those before if nothing else is said: the authors' for CIFAR-100-LT."""


def merging_shares(count: int, keep: float) -> tuple[list[float], float]:
    """Gives the weights of runs that are merged one after the other: theta <- keep theta + (1 - keep) theta_i.

    Returns:
        The share of each run in what all of them have together, and how much that is: the rest, keep^count, is the
        backbone as it was.
    """
    weights = [(1 - keep) * keep ** (count - 1 - index) for index in range(count)]
    return [weight / sum(weights) for weight in weights], 1 - keep**count


def soup(
    runs: Sequence[str], workdir: epath.PathLike, greedy: bool = False, order: str = "", keep: float | None = None
) -> Results:
    """Averages runs, writes the average into a folder as a run of its own, and evaluates it.

    It is the effects of the tuners that are averaged (see `lift_jax.tuners.averaged`), and the class vectors of the
    heads, as unit vectors where a head takes nothing else of them.

    Args:
        runs: the folders of the runs: of one backbone, method and class list, with one set of test images.
        workdir: the folder of the new run, which is not there or empty.
        greedy: takes the runs from the best to the worst on the held-out images, and leaves out each with which the
            average would become worse on them (Recipe 1); otherwise all runs are averaged.
        order: "lt" merges the runs as they are named, one after the other, into the backbone as it was; with "" all
            count the same.
        keep: in (0, 1): with "lt", the share that is kept of what was merged before each run; None for `KEEP`.

    Returns:
        The sections of eval.json, as `lift_jax.run.run` does.

    Raises:
        UserError: if a folder is no run, the runs have nothing in common that could be averaged, or the new folder is
            used; or with `greedy`, if they have not held out the same images.
    """
    if keep is not None and not order:
        raise UserError(f"--keep is {keep}, which belongs to --order lt; write that, too, or leave --keep out.")
    keep = KEEP if keep is None else keep
    if not 0 < keep < 1:
        raise UserError(f"--keep is {keep}; it is a share between 0 and 1, such as {KEEP}.")
    if order and greedy:
        raise UserError("--greedy and --order lt are both given, each of which says what the runs count; keep one.")
    sources = [source.read(given, "RUN") for given in runs]
    for each in sources:
        one_label.require(each.config, "A soup")
    out = _unused(place(workdir, "--workdir"))
    alike.check_alike(sources)
    loaded = Loaded()
    alike.check_test_images(sources, [loaded.data(each.config) for each in sources])
    judged = alike.same_held_out(sources)
    if greedy:
        alike.check_judged(sources)
    backbone = loaded.backbone(sources[0].config)
    members = [_member(each, backbone) for each in sources]
    with storage.opened(out) as folder, Logs(folder.local, push=folder.push) as logs:
        if sources[0].config.validation and not judged:
            logs.info("The runs have held out different images, so that there are none to judge their average by.")
        if greedy:
            members = _chosen(members, backbone, loaded, logs)
        logs.info(f"Averaged: {', '.join(str(each.source.folder) for each in members)}.")
        config = _config(members, judged)
        shares, strength = merging_shares(len(members), keep) if order else ([1 / len(members)] * len(members), 1.0)
        _write(config, members, backbone, loaded, folder, shares, strength)
        if order:
            sizes = "".join(f" --config.tuner.{key}={config.tuner[key]}" for key in tuners.WIDTHS if config.tuner[key])
            logs.info(
                f"Merged into the backbone, of which {1 - strength:.1%} is left. Train the head on all images with "
                f"--config.init_from={out} --config.head_alone=True{sizes}."
            )
    return run(ml_collections.ConfigDict(config.to_dict()), out, mode="eval", loaded=loaded)


def _unused(out: epath.Path) -> epath.Path:
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise UserError(f"--workdir is {out}, which is there and not empty; name a new folder for the soup.")
    return out


def _member(given: Source, backbone: Backbone) -> _Member:
    network = given.network(backbone)
    tuner, head = jax.device_get((network.parts.tuner, network.parts.head))
    return _Member(given, Parts({}, tuner, head), tuners.widths(network.method, network.tuning, tuner))


def _config(members: Sequence[_Member], judged: bool) -> ml_collections.FrozenConfigDict:
    """Makes the config of the average of some members: that of the first, with room for all their tuners."""
    config = ml_collections.ConfigDict(members[0].source.config.to_dict())
    config.update(ema=0.0, tuner_strength=1.0, init_from="", head_alone=False, sweep="")
    if not judged:
        config.update(validation="", patience=0)
    if len({member.source.config.data.cap for member in members}) > 1:
        config.data.cap = 0
    for key in tuners.WIDTHS:
        if width := sum(member.widths[key] for member in members):
            config.tuner[key] = width
    return check(config)


def _network(config: ml_collections.FrozenConfigDict, members: Sequence[_Member], backbone: Backbone) -> Network:
    method = tuners.resolve(config.method, config.tuner)
    return networks.build(config, method, backbone, members[0].source.class_names)


def _averaged(network: Network, members: Sequence[_Member], shares: Sequence[float], strength: float = 1.0) -> Network:
    """Puts the weighted mean of the members, of the tuners at a strength, into a network that has room for all."""
    widths = tuners.widths(network.method, network.tuning, network.parts.tuner)
    effects = [member.parts.tuner for member in members]
    tuner = tuners.averaged(network.method, network.tuning, effects, shares, widths)
    tuner = tuners.scaled(network.method, network.tuning, tuner, network.parts.tuner, strength)
    head: Any = {}
    if HEAD in network.parts.head:
        kernels = [member.parts.head[HEAD] for member in members]
        head = {HEAD: mean_head(network.classifier.head, kernels, shares)}
    trainable = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), {TUNER: tuner, HEAD: head})
    return network.with_trained(placement.replicate(trainable, placement.make_mesh()))


def _chosen(members: Sequence[_Member], backbone: Backbone, loaded: Loaded, logs: Logs) -> list[_Member]:
    """Chooses members by the held-out images, and tells how good each is on them."""
    config = _config(members, True)
    data, network = loaded.data(config), loaded.placed(_network(config, members, backbone), config.fsdp)
    evaluator = Evaluator(network.classifier, network.input)  # one program for all averages, of which some have zeros

    def score(some: Some) -> Scores:
        shares = [(index in some) / len(some) for index in range(len(members))]
        assert data.validation is not None
        loader = data.plain_loader(network.input.resolution, data.validation)
        counts, _ = evaluator(_averaged(network, members, shares).params, loader, logs, "evaluation, validation")
        return metrics.summarize(counts, class_groups=data.groups)

    chosen, rows = choose(score, len(members))
    names = [str(member.source.folder) for member in members]
    table = {names[index]: scores for (index, *rest), scores in rows.items() if not rest}
    table["average of those chosen"] = rows[chosen]
    logs.info(f"On the held-out images:\n{metrics.table(table)}")
    return [members[index] for index in chosen]


def choose(score: Callable[[Some], Scores], count: int) -> tuple[Some, dict[Some, Scores]]:
    """Chooses whose average is good, one after the other from the best to the worst alone.

    Args:
        score: gives metrics of the average of some, of which `mean_acc` decides.
        count: number of those to choose from.

    Returns:
        Those that are chosen, the best first, and the metrics of all averages that were tried.
    """
    tried: dict[Some, Scores] = {(index,): score((index,)) for index in range(count)}
    best, *others = sorted(range(count), key=lambda index: -tried[index,]["mean_acc"])
    chosen: Some = (best,)
    for index in others:
        more = (*chosen, index)
        tried[more] = score(more)
        if tried[more]["mean_acc"] >= tried[chosen]["mean_acc"]:
            chosen = more
    return chosen, tried


def _write(
    config: ml_collections.FrozenConfigDict,
    members: Sequence[_Member],
    backbone: Backbone,
    loaded: Loaded,
    folder: storage.Folder,
    shares: Sequence[float],
    strength: float,
) -> None:
    """Writes the config and the checkpoint of the average of all members, as at the end of a training."""
    data, network = loaded.data(config), _network(config, members, backbone)
    network = _averaged(network, members, shares, strength)
    state = initial_state(
        network.parts, objective.make(config, data.train.class_counts, len(data.train)).tx(), placement.make_mesh()
    )
    loader = data.train_loader(network.input.resolution)
    state = dataclasses.replace(state, step=state.step + loader.num_steps)
    own = identify(config, backbone.name, backbone.hash, network.class_names, network.method.tunes_text)
    write_json(folder.local / config_file.FILE, config.to_dict())
    folder.push()
    with Checkpoints(folder.path, own, config.keep) as checkpoints:
        checkpoints.save(Saved(state, {**loader.get_state(), "step": loader.num_steps}), loss=0.0)
