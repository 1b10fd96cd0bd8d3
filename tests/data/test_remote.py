"""Lists, folders and records at gs:// paths, where a bucket is files in memory."""

import importlib.util

import numpy as np
import pytest
from etils import epath
from pictures import write_images

from lift_jax.data import data_defaults, load, prepare, train_loader
from lift_jax.data.records import FINISHED
from lift_jax.errors import UserError

PATHS = ["train/a/0.jpg", "train/a/1.jpg", "train/b c/more/2.jpg", "test/b c/3.jpg"]


@pytest.fixture
def root(bucket):
    """A folder in a bucket with the images of `PATHS` and their lists."""
    write_images(bucket, PATHS)
    (bucket / "train.txt").write_text(
        "".join(f"{path} {label}\n" for path, label in zip(PATHS[:3], (0, 0, 1), strict=True))
    )
    (bucket / "test.txt").write_text(f"{PATHS[3]} 1\n")
    return bucket


def test_lists_and_folders_in_a_bucket(root, tmp_path):
    data = data_defaults()
    data.update(name="remote", format="folder", root=str(root))
    train, test = load(data)
    assert train.class_names == ("a", "b c") and train.class_counts.tolist() == [2, 1] and len(test) == 1
    assert train.path(2) == "gs://bucket/folder/train/b c/more/2.jpg"
    write_images(tmp_path, PATHS)
    local = data_defaults()
    local.update(name="local", format="folder", root=str(tmp_path))
    lists = data_defaults()
    lists.update(name="lists", format="lists", root=str(root))
    lists.update(train_list=str(root / "train.txt"), test_list=str(root / "test.txt"))
    first, *others = (
        next(train_loader(load(each)[0], batch_size=4, seed=0, resolution=8, num_epochs=1))
        for each in (data, local, lists)
    )
    for other in others:
        for key, value in first.items():
            np.testing.assert_array_equal(other[key], value)


def test_what_is_not_in_the_bucket_is_named(root):
    data = data_defaults()
    data.update(name="lists", format="lists", root=str(root))
    data.update(train_list=str(root / "no.txt"), test_list=str(root / "test.txt"))
    with pytest.raises(UserError, match=r"gs://bucket/folder/no\.txt cannot be read: No such file"):
        load(data)
    (root / "train.txt").write_text("train/a/9.jpg 0\n")
    data.train_list = str(root / "train.txt")
    data.test_list = str(root / "train.txt")
    with pytest.raises(UserError, match=r"names a file that is not under gs://bucket/folder: train/a/9\.jpg"):
        load(data)


def test_records_go_into_a_bucket_and_what_is_there_is_not_copied_again(root, tmp_path, capsys):
    lists = [f"--image_root={root}", f"--train_list={root / 'train.txt'}", f"--test_list={root / 'test.txt'}"]
    arguments = ["pictures", "--data_dir=gs://bucket/records", f"--local_dir={tmp_path}", *lists]
    assert prepare.main(arguments) == 0
    printed = capsys.readouterr().out
    assert "in gs://bucket/records/pictures/1.0.0" in printed and "train: 3 images of 2 classes" in printed
    made, copied = tmp_path / "pictures" / "1.0.0", epath.Path("gs://bucket/records/pictures/1.0.0")
    names = sorted(file.name for file in made.iterdir())
    assert names == sorted(file.name for file in copied.iterdir()) and "lift_jax_index-train.npz" in names
    for name in names:
        assert (copied / name).read_bytes() == (made / name).read_bytes()
    # A copy that was cut off goes on where it was: the train split is here, another file and the last one are not.
    records = next(name for name in names if "train.array_record" in name)
    (copied / records).write_bytes(bytes(made.joinpath(records).stat().st_size))
    (copied / FINISHED).unlink()
    (copied / "dataset_info.json").write_text("{")
    assert prepare.main(arguments) == 0
    assert (copied / "dataset_info.json").read_bytes() == (made / "dataset_info.json").read_bytes()
    assert not any((copied / records).read_bytes())


@pytest.mark.skipif(importlib.util.find_spec("s3fs") is not None, reason="s3fs is installed")
def test_a_bucket_without_its_package_says_what_to_install():
    data = data_defaults()
    data.update(format="folder", root="s3://bucket/photos")
    with pytest.raises(UserError, match=r"s3://bucket/photos.* cannot be read: .*pip install s3fs\.$"):
        load(data)
