"""The training images that are most like an image: that they are the right ones, and are computed once."""

import base64
import dataclasses
import io
import shutil
from pathlib import Path

import jax
import ml_collections
import numpy as np
import pytest
import small_runs
from PIL import Image
from sklearn.metrics.pairwise import cosine_similarity

import lift_jax
from lift_jax.data.thumbnails import thumbnail
from lift_jax.errors import UserError
from lift_jax.inference import nearest
from lift_jax.inference.model import Model
from lift_jax.workdir.logs import Logs


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    """Digits in folders: four training and two test images of each of three classes."""
    root = tmp_path_factory.mktemp("digits")
    small_runs.write_digits(root, "abc", train=4, test=2)
    return root


@pytest.fixture(scope="module")
def workdir(root, tiny_folder, tmp_path_factory) -> Path:
    workdir = tmp_path_factory.mktemp("runs") / "run"
    return small_runs.zero_shot_run(tiny_folder, workdir, format="folder", root=str(root), name="digits")


@pytest.fixture(scope="module")
def model(workdir) -> Model:
    return lift_jax.load(workdir)


@pytest.fixture(scope="module")
def images(model) -> nearest.TrainingImages:
    return nearest.load(model)


def test_they_are_those_with_the_largest_cosines_of_the_features(images, model, root):
    files = sorted((root / "train").rglob("*.png"))
    queries = [files[5], *sorted((root / "test").rglob("*.png"))]
    cosines = cosine_similarity(model.features(queries), model.features(files))
    for found, row in zip(images.nearest(queries, k=4), cosines, strict=True):
        expected = np.argsort(-row)[:4]
        assert [root / each.path for each in found] == [files[place] for place in expected]
        np.testing.assert_allclose([each.similarity for each in found], row[expected], atol=1e-5)
        assert [model.class_names[each.label] for each in found] == [files[place].parent.name for place in expected]


def test_a_training_image_is_nearest_to_itself(images, root):
    file = root / "train" / "b" / "2.png"
    (found,) = images.nearest(str(file), k=1)
    assert found[0].path == "train/b/2.png" and found[0].similarity == pytest.approx(1)


def test_there_are_no_more_than_training_images(images, root):
    (found,) = images.nearest(str(root / "test" / "a" / "4.png"), k=100)
    assert sorted(each.index for each in found) == list(range(12))


def test_a_picture_is_a_small_jpeg_of_the_image_as_long_as_it_is_there(images, root, tmp_path):
    (index,) = [i for i in range(12) if images.dataset.path(i).endswith("train/b/2.png")]
    file = root / "train" / "b" / "2.png"
    start, _, code = images.picture(index).partition(",")
    found = np.asarray(Image.open(io.BytesIO(base64.b64decode(code))).convert("RGB")).astype(int)
    assert start == "data:image/jpeg;base64"
    assert np.abs(found - thumbnail(np.asarray(Image.open(file).convert("RGB")))).mean() < 3
    file.rename(tmp_path / "2.png")
    try:
        assert images.picture(index) is None
    finally:
        (tmp_path / "2.png").rename(file)


@pytest.mark.parametrize("k", [0, -1])
def test_a_number_that_cannot_be_is_told(images, root, k):
    with pytest.raises(UserError, match=f"k is {k}, the number of training images; write a whole number from 1 on"):
        images.nearest(str(root / "test" / "a" / "4.png"), k=k)


def test_a_run_with_images_of_several_classes_is_refused(model):
    config = ml_collections.ConfigDict(model.config)
    config.task = "multilabel"
    several = dataclasses.replace(model, config=ml_collections.FrozenConfigDict(config))
    with pytest.raises(UserError, match="The search for the nearest training images"):
        nearest.load(several)


def test_an_image_that_cannot_be_read_is_told(images):
    with pytest.raises(UserError, match="no image of a kind that is read"):
        images.nearest([b"no image"])


def test_features_are_computed_once(model, tmp_path, capsys):
    first = nearest.load(model, tmp_path / "store")
    assert "features, training images" in capsys.readouterr().err
    files = sorted(file for file in (tmp_path / "store").rglob("*") if file.is_file())
    again = nearest.load(model, tmp_path / "store")
    assert "features, training images" not in capsys.readouterr().err
    np.testing.assert_array_equal(first.features.rows, again.features.rows)
    assert sorted(file for file in (tmp_path / "store").rglob("*") if file.is_file()) == files


def test_features_that_a_store_has_of_the_untrained_backbone_serve(model, images, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("LIFT_JAX_CACHE", str(tmp_path))
    model.dataset_features(images.dataset, Logs(None, enabled=False), "before", tuned=False)
    found = nearest.load(model)
    assert "features, training images" not in capsys.readouterr().err
    np.testing.assert_allclose(found.features.rows, images.features.rows, atol=1e-5)


def test_features_of_another_training_are_others(tiny_folder, root, tmp_path):
    config = small_runs.small_config(tiny_folder, method="lift")
    config.data.update(format="folder", root=str(root), name="digits", imbalance=0)
    built = small_runs.build(config)

    def trained(seed: int) -> Model:
        generator = np.random.default_rng(seed)
        tuner = jax.tree.map(lambda x: generator.normal(0, 0.5, x.shape).astype(np.float32), built.network.parts.tuner)
        network = built.network.with_trained({"tuner": tuner, "head": built.network.parts.head}).placed(built.mesh)
        return Model(built.config, network, network.params, built.backbone, None)

    models = [trained(1), trained(2), trained(1)]
    rows = [nearest.load(model, tmp_path).features.rows for model in models]
    assert np.abs(rows[0] - rows[1]).max() > 1e-3
    np.testing.assert_array_equal(rows[0], rows[2])
    assert len([each for each in tmp_path.iterdir() if each.is_dir()]) == 2
    of_images = models[0].features(built.data.train.source[0])
    np.testing.assert_allclose(rows[0][:1], of_images / np.linalg.norm(of_images), atol=1e-5)


def moved(model: Model, root: Path) -> Model:
    """The model of a run whose data are in another folder."""
    config = ml_collections.ConfigDict(model.config)
    config.data.root = str(root)
    return dataclasses.replace(model, config=ml_collections.FrozenConfigDict(config))


def test_images_that_are_not_there_are_told(model, tmp_path):
    with pytest.raises(UserError, match=r"no-data"):
        nearest.load(moved(model, tmp_path / "no-data"))


def test_images_of_other_classes_are_told(model, root, tmp_path):
    shutil.copytree(root, tmp_path / "other")
    for split in "train", "test":
        (tmp_path / "other" / split / "c").rename(tmp_path / "other" / split / "d")
    with pytest.raises(UserError, match="has other classes than the run; restore the one"):
        nearest.load(moved(model, tmp_path / "other"))


def test_what_has_been_added_and_what_cannot_be_read_is_told_and_the_rest_found(model, root, tmp_path, capsys):
    shutil.copytree(root, tmp_path / "more")
    shutil.copy(root / "test" / "a" / "4.png", tmp_path / "more" / "train" / "a" / "more.png")
    (tmp_path / "more" / "train" / "a" / "0.png").write_bytes(b"no image")
    images = nearest.load(moved(model, tmp_path / "more"))
    assert "there were 12, and there are 13 now" in capsys.readouterr().err
    (found,) = images.nearest(str(root / "test" / "a" / "4.png"), k=20)
    assert found[0].path == "train/a/more.png" and len(found) == 12
