"""The average of runs, and runs that begin with what another one has trained."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import ml_collections
import numpy as np
import pytest
from etils import epath
from hypothesis import given, settings
from hypothesis import strategies as st
from small_runs import small_config

import lift_jax
from lift_jax import report, tuners, weights
from lift_jax.classifier import network as networks
from lift_jax.config import resolve
from lift_jax.data import load_run_data
from lift_jax.data.digits import load_digits
from lift_jax.errors import UserError
from lift_jax.models.heads import CosineHead, LinearHead, mean_head
from lift_jax.models.partition import HEAD
from lift_jax.run import run, run_together, source
from lift_jax.run.alike import check_alike, check_judged, check_test_images, same_held_out
from lift_jax.run.soup import choose, merging_shares, soup
from lift_jax.training import objective, optimizer
from lift_jax.workdir.identity import identify
from lift_jax.workdir.logs import Logs

QUIET = Logs(None, enabled=False)


def config_of(folder: str, **changes) -> Any:
    config = small_config(folder, validation="balanced:5")
    config.tte.enabled = False
    config.update(num_epochs=1, lr=0.1)
    config.update(changes)
    return config


@pytest.fixture(scope="module")
def runs(tiny_folder, tmp_path_factory) -> list[str]:
    """Two runs of one seed and different learning rates."""
    root = tmp_path_factory.mktemp("soup")
    plan = {epath.Path(root / f"lr={lr}"): config_of(tiny_folder, lr=lr) for lr in (0.1, 0.6)}
    run_together(plan)
    return [str(folder) for folder in plan]


def confidences(workdir: Any) -> np.ndarray:
    with np.load(Path(workdir) / "predictions.npz") as written:
        return written["confidence"]


def test_the_average_of_a_run_with_itself_is_that_run(runs, tmp_path):
    copy = shutil.copytree(runs[1], tmp_path / "copy")
    results = soup([runs[1], str(copy)], str(tmp_path / "out"))
    np.testing.assert_allclose(confidences(tmp_path / "out"), confidences(runs[1]), rtol=0, atol=1e-5)
    assert results["plain"]["accuracy"] == json.loads((Path(runs[1]) / "eval.json").read_text())["plain"]["accuracy"]


def test_an_average_is_a_run_like_any_other(runs, tiny_folder, tmp_path):
    out = tmp_path / "out"
    results = soup(runs, str(out), greedy=True)
    members = [json.loads((Path(each) / "eval.json").read_text())["validation"]["mean_acc"] for each in runs]
    assert results["validation"]["mean_acc"] >= max(members)
    log = (out / "console.log").read_text()
    assert "On the held-out images:" in log and "average of those chosen" in log

    both = tmp_path / "both"
    results = soup(runs, str(both))
    config = json.loads((both / "config.json").read_text())
    assert config["tuner"]["dim"] == 2  # each has 1, by the rule
    assert all(np.abs(confidences(both) - confidences(each)).max() > 1e-4 for each in runs)
    _, test = load_digits(50)
    images = np.stack([test.source[index] for index in range(len(test))])
    np.testing.assert_array_equal(lift_jax.load(both).predict(images).max(axis=1), confidences(both))
    assert "held-out images" in report.write(both).read_text()
    before = (both / "eval.json").read_bytes()
    again = config_of(tiny_folder)
    again.tuner.dim = 2
    assert run(again, both) == results  # there is nothing left to train
    assert (both / "eval.json").read_bytes() == before
    with pytest.raises(UserError, match=r"--workdir is .*both, which is there and not empty; name a new folder"):
        soup(runs, str(both))


def test_the_choice_goes_from_the_best_to_the_worst_and_takes_what_makes_nothing_worse():
    scores = {(0,): 50, (1,): 70, (2,): 60, (1, 2): 65, (1, 0): 70}
    chosen, tried = choose(lambda some: {"mean_acc": float(scores[tuple(some)])}, 3)
    assert chosen == (1, 0)
    assert {members: values["mean_acc"] for members, values in tried.items()} == scores


@settings(deadline=None)
@given(st.lists(st.floats(-10, 10), min_size=1, max_size=8), st.floats(0.05, 0.95))
def test_shares_are_those_of_merging_one_after_the_other_into_the_start(effects, keep):
    merged = 0.0  # the start has no effect
    for effect in effects:
        merged = keep * merged + (1 - keep) * effect
    shares, strength = merging_shares(len(effects), keep)
    assert sum(shares) == pytest.approx(1)
    assert strength * sum(s * x for s, x in zip(shares, effects, strict=True)) == pytest.approx(merged, abs=1e-9)


@pytest.mark.parametrize("alone", [False, True])
def test_a_tuner_is_left_as_it_is_where_the_head_is_trained_alone(alone):
    params = {"tuner": np.ones(2, np.float32), "head": np.ones(2, np.float32)}
    tx = optimizer.make(0.1, 0.9, 0.5, ema=0.9, head_alone=alone)
    gradient: Any = jax.tree.map(np.ones_like, params)
    updates: Any = tx.update(gradient, tx.init(params), params)[0]  # pyright: ignore[reportArgumentType]
    np.testing.assert_allclose(updates["head"], -0.15, rtol=1e-6)
    np.testing.assert_allclose(updates["tuner"], 0.0 if alone else -0.15, rtol=1e-6)


def test_a_head_alone_needs_a_run_and_a_head(tiny_folder):
    with pytest.raises(UserError, match=r"^config.head_alone is set, but there is no run .* config.init_from, or"):
        objective.check(resolve(config_of(tiny_folder, head_alone=True)))
    with pytest.raises(UserError, match=r"^config.head_alone is set, but config.method=coop has no head"):
        objective.check(resolve(config_of(tiny_folder, head_alone=True, init_from="runs/a", method="coop")))
    objective.check(resolve(config_of(tiny_folder, head_alone=True, init_from="runs/a")))


@pytest.mark.parametrize(
    "options, sentence",
    [
        ({"keep": 0.5}, r"^--keep is 0\.5, which belongs to --order lt; .*$"),
        ({"order": "lt", "keep": 1.0}, r"^--keep is 1.0; it is a share between 0 and 1, such as 0.7\.$"),
        ({"order": "lt", "greedy": True}, r"^--greedy and --order lt are both given, .* keep one\.$"),
    ],
)
def test_an_order_that_makes_no_sense(options, sentence, tmp_path):
    with pytest.raises(UserError, match=sentence):
        soup(["runs/a", "runs/b"], str(tmp_path / "out"), **options)


@pytest.mark.slow
def test_runs_of_capped_classes_are_merged_and_their_head_is_trained_on_all_images(tiny_folder, tmp_path):
    folders = [epath.Path(tmp_path / f"cap={cap}") for cap in (4, 16)]
    for folder, cap in zip(folders, (4, 16), strict=True):
        config = config_of(tiny_folder)
        config.data.cap = cap
        run(config, folder)
    merged = tmp_path / "merged"
    soup([str(folder) for folder in folders], str(merged), order="lt", keep=1e-6)
    np.testing.assert_allclose(confidences(merged), confidences(folders[-1]), rtol=0, atol=1e-4)
    written = json.loads((merged / "config.json").read_text())
    assert written["data"]["cap"] == 0 and written["tuner"]["dim"] == 2
    assert "--config.head_alone=True --config.tuner.dim=2" in (merged / "console.log").read_text()
    config = config_of(tiny_folder, init_from=str(merged), head_alone=True)
    config.tuner.dim = 2
    run(config, tmp_path / "lt")
    parts = [lift_jax.load(folder).network.parts for folder in (merged, tmp_path / "lt")]
    jax.tree.map(np.testing.assert_array_equal, parts[0].tuner, parts[1].tuner)
    assert any((x != y).any() for x, y in zip(*(jax.tree.leaves(each.head) for each in parts), strict=True))


def test_the_mean_of_heads_is_that_of_unit_vectors_where_lengths_do_not_count():
    kernels = [np.array([[3.0, 0.0], [0.0, 1.0]], np.float32), np.array([[0.0, 0.0], [1.0, 5.0]], np.float32)]
    cosine = mean_head(CosineHead(2), [{"kernel": kernel} for kernel in kernels], (0.5, 0.5))
    np.testing.assert_allclose(cosine["kernel"], [[0.5, 0.0], [0.5, 1.0]], atol=1e-6)
    biases = [np.array([1.0, 2.0]), np.array([3.0, 4.0])]
    members = [{"kernel": kernel, "bias": bias} for kernel, bias in zip(kernels, biases, strict=True)]
    linear = mean_head(LinearHead(2), members, (0.25, 0.75))
    np.testing.assert_allclose(linear["kernel"], 0.25 * kernels[0] + 0.75 * kernels[1])
    np.testing.assert_allclose(linear["bias"], [2.5, 3.5])


def test_what_cannot_be_averaged_is_named(runs, tmp_path):
    known = source.read(runs[0], "RUN")
    out = str(tmp_path / "out")

    def with_other(config: Any = (), **identity) -> None:
        changed = ml_collections.ConfigDict(known.config.to_dict())
        changed.update_from_flattened_dict(dict(config))
        other = known._replace(
            folder=epath.Path("other"), config=resolve(changed), identity={**known.identity, **identity}
        )
        check_alike([known, other])

    with_other()
    with_other([("lr", 0.5), ("tau", 2.0), ("seed", 4), ("tuner.dim", 3)], tuner={**known.identity["tuner"], "dim": 3})
    for changes, words in [
        ({"backbone_hash": "0" * 64}, r"other was made with another value of the backbone's weights"),
        (
            {"method": "lora"},
            r"other was made with another value of config\.method \(lora, here lift\); a soup is",
        ),
        ({"class_names": ["a"] * 10}, r"another value of the class names \(10 classes from a, here 10 classes from"),
        ({"tuner": {**known.identity["tuner"], "partial": "1"}}, r"config\.tuner\.partial \(1, here \)"),
    ]:
        with pytest.raises(UserError, match=words):
            with_other(**changes)
    with pytest.raises(UserError, match=r"other, of config\.loss=CE, have the training prior .*, the uniform one"):
        with_other([("loss", "CE")])
    with pytest.raises(UserError, match=r"another value of config\.resolution \(32, here 0\)"):
        with_other([("resolution", 32)])
    with pytest.raises(UserError, match=r"one folder is named; name two"):
        soup(runs[:1], out)
    with pytest.raises(UserError, match=r"is named twice, and would count twice"):
        soup([runs[0], f"{runs[0]}/../{Path(runs[0]).name}"], out)
    with pytest.raises(UserError, match=r"RUN is /nope, which is no run of lift_jax: it has no config\.json"):
        soup([runs[0], "/nope"], out)
    assert not Path(out).exists()


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"validation": ""}, r"--greedy chooses by held-out images, of which other has none; train the runs with"),
        ({"seed": 7}, r"other.* and the others have held out different ones, .*; give all runs one config\.validation"),
    ],
)
def test_no_choice_without_common_held_out_images(runs, changes, words):
    known = source.read(runs[0], "RUN")
    changed = ml_collections.ConfigDict(known.config.to_dict())
    changed.update(changes)
    sources = [known._replace(folder=epath.Path("other"), config=resolve(changed)), known]
    assert same_held_out([known, known]) and not same_held_out(sources)
    with pytest.raises(UserError, match=words):
        check_judged(sources)


def test_other_test_images_are_named(runs):
    known = source.read(runs[0], "RUN")
    data = load_run_data(known.config)
    check_test_images([known, known], [data, load_run_data(known.config)])
    other = dataclasses.replace(data, test=data.test.subset(np.arange(3, len(data.test))))
    with pytest.raises(
        UserError, match=r"The test images of .* are others than those of .*lr=0\.1, .* one config\.seed"
    ):
        check_test_images([known, known], [data, other])


def begin(run_folder: str, tiny_folder: str, class_names: list[str], **changes) -> tuple[Any, Any]:
    """The parts of a network of other classes, before and after it takes what a run has trained."""
    config = resolve(config_of(tiny_folder, **changes))
    backbone = weights.load(config.backbone)
    network = networks.build(config, tuners.resolve(config.method, config.tuner), backbone, class_names)
    own = identify(config, backbone.name, backbone.hash, class_names, reads_prompt=False)
    return network.parts, source.begin_from(run_folder, network.parts, network, backbone, own, QUIET)


def test_classes_are_taken_by_their_names_and_others_start_anew(runs, tiny_folder):
    known = lift_jax.load(runs[1])
    there = list(known.class_names)
    here = ["tench", there[3], there[0], "shark", *there[5:]]
    start, parts = begin(runs[1], tiny_folder, here)
    jax.tree.map(np.testing.assert_array_equal, parts.tuner, jax.device_get(known.network.parts.tuner))
    trained = np.asarray(known.network.parts.head[HEAD]["kernel"])
    for label, name in enumerate(here):
        column = trained[:, there.index(name)] if name in there else start.head[HEAD]["kernel"][:, label]
        np.testing.assert_array_equal(parts.head[HEAD]["kernel"][:, label], column)


@pytest.mark.parametrize(
    "names, changes, words",
    [
        (10, {"method": "lora"}, r"which was made with another value of config\.method \(lift, here lora\); take the"),
        (10, {"head": "linear"}, r"another value of config\.head \(cosine, here linear\)"),
        (200, {}, r"whose tuner has other sizes than here .*; write config\.tuner\.dim=1\.$"),
        (-1, {}, "is the name of several classes there or here"),
    ],
)
def test_runs_that_cannot_begin_with_another(runs, tiny_folder, names, changes, words):
    known = list(lift_jax.load(runs[0]).class_names)
    given = [*known[: names if names < 11 else 10], *(f"class {n}" for n in range(10, names))]
    given = [known[0], *known] if names < 0 else given
    with pytest.raises(UserError, match=words):
        begin(runs[0], tiny_folder, given, **changes)


def test_a_run_begins_with_another_and_goes_on_without_it(runs, tiny_folder, tmp_path):
    before = shutil.copytree(runs[1], tmp_path / "before")
    config = config_of(tiny_folder, init_from=str(before), lr=0.0, seed=0)
    results = run(config, tmp_path / "run")
    np.testing.assert_allclose(confidences(tmp_path / "run"), confidences(before), rtol=0, atol=1e-6)
    assert json.loads((tmp_path / "run" / "config.json").read_text())["init_from"] == str(before)
    log = (tmp_path / "run" / "console.log").read_text()
    assert "10 of 10 classes start from those of" in log and "judge too well" not in log
    run(config_of(tiny_folder, init_from=str(before), seed=3), tmp_path / "drawn anew")
    log = (tmp_path / "drawn anew" / "console.log").read_text()
    assert f"The run {before} (config.init_from) may have been trained on images that are held out here" in log
    shutil.rmtree(before)
    config.num_epochs = 2
    assert run(config, tmp_path / "run")["plain"] == results["plain"]
    with pytest.raises(UserError, match=r"config\.init_from is .*before, which is no run of lift_jax"):
        run(config, tmp_path / "other")
    assert not (tmp_path / "other").exists()
