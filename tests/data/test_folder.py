"""Folders of people as data sets: which are splits, which classes, and what is said of the rest."""

import logging
import os

import pytest
from pictures import encoded, picture, write_images

from lift_jax.data import data_defaults, duplicates, load, train_loader
from lift_jax.errors import UserError


def data(root, **changes):
    config = data_defaults()
    config.update({"name": "own", "format": "folder", "root": str(root), **changes})
    return config


def tree(root, *folders: str, count: int = 2) -> None:
    """Pictures in these folders, each another one."""
    write_images(root, [f"{folder}/{i}.png" for folder in folders for i in range(count)], (8, 8))


def splits(root, **changes) -> tuple[list[str], list[str]]:
    """The folders, relative to the root, from which training and test images come."""
    return tuple(
        sorted({os.path.dirname(os.path.relpath(split.path(i), root)) for i in range(len(split))})
        for split in load(data(root, **changes))
    )  # type: ignore[return-value]


class TestSplits:
    @pytest.mark.parametrize("train", ["train", "Train", "Training", "TRAINING"])
    @pytest.mark.parametrize("test", ["Test", "testing", "val", "Valid", "Validation", "eval"])
    def test_usual_names_in_any_letters(self, tmp_path, train, test):
        tree(tmp_path, f"{train}/dog", f"{train}/cat", f"{test}/dog", f"{test}/cat")
        assert splits(tmp_path) == ([f"{train}/cat", f"{train}/dog"], [f"{test}/cat", f"{test}/dog"])

    def test_of_several_the_first_is_taken_and_the_others_named(self, tmp_path, caplog):
        tree(tmp_path, *(f"{split}/{c}" for split in ("train", "val", "test", "extra") for c in ("cat", "dog")))
        assert splits(tmp_path)[1] == ["test/cat", "test/dog"]
        assert "not read are extra, val; the splits are train and test, and config.data.train_list" in caplog.text
        caplog.clear()
        assert splits(tmp_path, train_list="extra/", test_list="val")[0] == ["extra/cat", "extra/dog"]
        assert not caplog.text
        assert splits(tmp_path, train_list="test")[1] == ["val/cat", "val/dog"]

    def test_a_class_called_train(self, tmp_path):
        tree(tmp_path, "bus", "car", "train")
        assert load(data(tmp_path, val_fraction=0.5))[0].class_names == ("bus", "car", "train")

    def test_a_test_split_alone_is_refused_unless_it_is_a_class(self, tmp_path):
        tree(tmp_path, "photos/cat", "photos/dog", "Test/cat", "Test/dog")
        with pytest.raises(UserError, match=r"has the test split Test but no folder called train; .*train_list=\. if"):
            load(data(tmp_path, val_fraction=0.5))
        assert load(data(tmp_path, train_list=".", val_fraction=0.5))[0].class_names == ("Test", "photos")
        assert splits(tmp_path, train_list="photos")[1] == ["Test/cat", "Test/dog"]
        with pytest.raises(UserError, match=r"has the test split photos but no folder called train; .*train_list\.$"):
            load(data(tmp_path, test_list="photos"))

    def test_a_class_called_test(self, tmp_path):
        tree(tmp_path, "control", "test")
        assert load(data(tmp_path, val_fraction=0.5))[0].class_names == ("control", "test")

    def test_unlabelled_splits_are_no_classes(self, tmp_path):
        tree(tmp_path, "train", "test")
        with pytest.raises(
            UserError,
            match=r"train has no folders with images in it, but 2 images such as 0\.png; put .*train_list=FILE",
        ):
            load(data(tmp_path))
        (tmp_path / "train/metadata.csv").write_text("file_name,label\n")
        said = r"but 2 images such as 0\.png and 1 \.csv file .* --config\.data\.format=csv for .* metadata\.csv\.$"
        with pytest.raises(UserError, match=said):
            load(data(tmp_path))

    @pytest.mark.parametrize("key", ["train_list", "test_list"])
    def test_a_list_file_names_the_other_format(self, tmp_path, key, monkeypatch):
        tree(tmp_path, "train/cat", "train/dog", "test/cat")
        (tmp_path / "all.txt").write_text("train/cat/0.png 0\n")
        with pytest.raises(UserError, match=rf"data\.{key} is all\.txt, a file, .* write config\.data\.format=lists"):
            load(data(tmp_path, **{key: "all.txt"}))

    @pytest.mark.parametrize("key", ["train_list", "test_list"])
    def test_a_folder_that_is_not_there_is_named_with_its_key_and_those_that_are(self, tmp_path, key):
        tree(tmp_path, "cat", "dog")
        with pytest.raises(UserError, match=rf"data\.{key} is held, and .* no such folder; those there are cat, dog\."):
            load(data(tmp_path, **{key: "held"}))

    def test_an_unused_fraction_is_said(self, tmp_path, caplog):
        tree(tmp_path, "train/cat", "train/dog", "test/cat")
        load(data(tmp_path, val_fraction=0.2))
        assert "config.data.val_fraction=0.2 is not used: the test split is test." in caplog.text

    def test_home_and_addresses(self, tmp_path, monkeypatch):
        tree(tmp_path, "photos/cat", "photos/dog")
        monkeypatch.setenv("HOME", str(tmp_path))
        assert len(load(data("~/photos", val_fraction=0.5))[0]) == 2
        with pytest.raises(UserError, match=r"config\.data\.root is https://example\.org/photos, which is on the web"):
            load(data("https://example.org/photos"))
        with pytest.raises(UserError, match=r"foo:// is not known"):
            load(data("foo://photos"))


class TestClasses:
    def test_numbers_sort_as_numbers(self, tmp_path):
        tree(tmp_path, *(f"train/{i}" for i in range(12)), "test/10", "test/2")
        (tmp_path / "names.txt").write_text("".join(f"name{i}\n" for i in range(12)))
        train, test = load(data(tmp_path, class_names=str(tmp_path / "names.txt")))
        assert train.class_names == tuple(f"name{i}" for i in range(12))
        for split in train, test:
            folders = [os.path.basename(os.path.dirname(split.path(i))) for i in range(len(split))]
            assert split.labels.tolist() == [int(folder) for folder in folders]
        assert load(data(tmp_path))[0].class_names == tuple(map(str, range(12)))

    @pytest.mark.parametrize("names", [["1", "10", "2", "b"], ["001", "002", "010"], ["²", "1"], ["-1", "0"]])
    def test_other_names_sort_as_before(self, tmp_path, names):
        tree(tmp_path, *names)
        assert load(data(tmp_path, val_fraction=0.5))[0].class_names == tuple(sorted(names))

    def test_numbers_of_any_length(self, tmp_path):
        names = ["9", "007", "1" + "0" * 200, "08"]
        tree(tmp_path, *names)
        assert load(data(tmp_path, val_fraction=0.5))[0].class_names == ("007", "08", "9", "1" + "0" * 200)

    def test_a_single_class_is_refused(self, tmp_path):
        tree(tmp_path, "train/cat", "test/cat")
        with pytest.raises(UserError, match=r"train has images of one class only \(cat\), and .* needs two or more"):
            load(data(tmp_path))
        tree(tmp_path, "outer/photos/cat", "outer/photos/dog")
        with pytest.raises(
            UserError, match=r"one class only \(photos\).*if the folders in .*outer/photos are the class"
        ):
            load(data(tmp_path / "outer", val_fraction=0.5))
        assert load(data(tmp_path / "outer/photos", val_fraction=0.5))[0].class_names == ("cat", "dog")

    def test_what_is_left_out_is_said_in_one_line(self, tmp_path, caplog):
        tree(tmp_path, "train/cat", "train/dog", "test/cat")
        (tmp_path / "train/empty/deeper").mkdir(parents=True)
        write_images(tmp_path, ["train/lost.png", "test/also.png"], (8, 8))
        (tmp_path / "train/cat/notes.txt").write_text("x")
        (tmp_path / "train/dog/again").symlink_to("../dog")
        os.mkfifo(tmp_path / "train/dog/pipe")
        train, test = load(data(tmp_path))
        assert train.class_names == ("cat", "dog") and train.class_counts.tolist() == [2, 2] and len(test) == 2
        (line,) = [r.getMessage() for r in caplog.records if f"{tmp_path}/train: left out" in r.getMessage()]
        for part in (
            "1 image beside the class folders such as lost.png", "1 folder without an image such as empty",
            "1 link to a folder that is read already such as dog/again", "1 .txt file such as cat/notes.txt",
            "1 pipe, device or socket such as dog/pipe",
        ):  # fmt: skip
            assert part in line
        assert f"{tmp_path}/test: left out: 1 image beside the class folders such as also.png." in caplog.text

    def test_nothing_is_said_of_folders_that_are_right(self, tmp_path, caplog):
        write_images(tmp_path, ["train/cat/0.jpg", "train/dog/0.JPG", "test/cat/0.png"])
        load(data(tmp_path))
        assert not [r for r in caplog.records if r.levelno >= logging.WARNING]

    def test_links_between_classes_do_not_count_an_image_twice(self, tmp_path):
        tree(tmp_path, "train/cat", "train/dog", "test/cat", "far/owls")
        (tmp_path / "train/cat/z").symlink_to("../dog")
        (tmp_path / "train/owl").symlink_to(tmp_path / "far/owls")
        train, _ = load(data(tmp_path))
        assert train.class_names == ("cat", "dog", "owl") and train.class_counts.tolist() == [2, 2, 2]

    def test_a_class_of_the_test_split_alone(self, tmp_path):
        tree(tmp_path, "train/cat", "train/dog", "test/cat", "test/owl")
        with pytest.raises(UserError, match=r"test has the class 'owl' \(1 such\), which .*train lacks; add images"):
            load(data(tmp_path))


@pytest.mark.parametrize("workers", [0, 1])
def test_names_that_are_not_utf8(tmp_path, workers, capfd):
    tree(tmp_path, "train/cat", "train/dog", "test/dog")
    green = tmp_path / "train" / os.fsdecode(b"gr\xfcn")
    green.mkdir()
    for i in range(2):
        (green / os.fsdecode(b"\xe9t\xe9%d.jpg" % i)).write_bytes(encoded(picture(8, 8, i)))
    train, _ = load(data(tmp_path))
    assert train.class_names == ("cat", "dog", "grün") and train.class_counts.tolist() == [2, 2, 2]
    loader = train_loader(train, batch_size=6, seed=0, resolution=8, num_epochs=1, num_workers=workers)
    assert sorted(next(loader)["index"].tolist()) == list(range(6))
    (green / os.fsdecode(b"\xe9t\xe90.jpg")).write_bytes(b"no image")
    with pytest.raises(UserError) as raised:
        list(train_loader(train, batch_size=6, seed=0, resolution=8, num_epochs=1, num_workers=workers))
    assert r"gr\udcfcn" in str(raised.value) and str(raised.value).isascii()


class TestDuplicates:
    def test_the_same_content_in_both_splits_is_said(self, tmp_path, caplog):
        tree(tmp_path, "train/cat", "train/dog", "test/cat", count=4)
        copies = {"test/cat/0.png": "train/cat/3.png", "test/cat/2.png": "train/dog/1.png"}
        for copy, original in copies.items():
            (tmp_path / copy).write_bytes((tmp_path / original).read_bytes())
        load(data(tmp_path))
        assert "2 images of own test have the same content as images of own train, for example" in caplog.text
        assert f"{tmp_path}/test/cat/0.png and {tmp_path}/train/cat/3.png" in caplog.text

    def test_of_a_held_out_share_as_well(self, tmp_path, caplog):
        tree(tmp_path, "cat", "dog")
        for i in range(8):
            (tmp_path / f"cat/same{i}.png").write_bytes(encoded(picture(8, 8, 99), "PNG"))
        load(data(tmp_path, val_fraction=0.5))
        assert "have the same content" in caplog.text

    def test_files_that_only_begin_alike_are_others(self, tmp_path):
        begin = b"x" * 70_000
        files = {"a": begin + b"1", "b": begin + b"2", "c": begin + b"2", "d": begin, "e": b"", "f": b""}
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        paths = {name: str(tmp_path / name) for name in files}
        train, test = [paths[n] for n in "abe"], [paths[n] for n in "bcdf"]
        assert duplicates.copies(train, [*test, str(tmp_path / "gone")]) == ({paths["c"]: paths["b"]}, True)

    def test_reading_stops_at_a_bound(self, tmp_path, monkeypatch):
        monkeypatch.setattr(duplicates, "MOST_BYTES", 500)
        for name in "abcdef":
            (tmp_path / name).write_bytes(b"y" * 100)
        train, test = [str(tmp_path / "a")], [str(tmp_path / name) for name in "bcdef"]
        assert duplicates.copies(train, test) == (dict.fromkeys(test[:2], train[0]), False)
