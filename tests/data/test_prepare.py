"""Miniatures of the benchmarks, prepared as TFDS records from files in their original layout, and read by our code."""

import io
import json
import os
import pathlib
import re
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
from etils import epath
from pictures import encoded, picture, write_images

from lift_jax.data import data_defaults, load, prepare, train_loader
from lift_jax.data.records import RecordSource, open_builder
from lift_jax.errors import UserError

# The folders and names of places365standard_easyformat, and of the lists of Liu et al.
PLACES = ["airfield", "apartment_building-outdoor", "zen_garden"]
TRAIN = [
    (f"train/{place}/{i + 4851:08d}.jpg", label) for label, place in enumerate(PLACES) for i in range(5 - 2 * label)
]
TEST = [(f"val/{PLACES[i % 3]}/Places365_val_{i + 435:08d}.jpg", i % 3) for i in range(6)]


@pytest.fixture
def places(tmp_path):
    """Images of 70 x 90 pixels, too large to be kept in memory, and lists over them."""
    write_images(tmp_path, [path for path, _ in TRAIN + TEST], (70, 90))
    write_lists(tmp_path)
    return tmp_path


def write_lists(root) -> None:
    for name, lines in [("train", TRAIN), ("test", TEST)]:
        (root / f"Places_LT_{name}.txt").write_text("".join(f"{path} {label}\n" for path, label in lines))


def places_arguments(root) -> list[str]:
    lists = [f"--{split}_list={root / f'Places_LT_{split}.txt'}" for split in ("train", "test")]
    return ["places_lt", f"--data_dir={root / 'records'}", f"--image_root={root}", *lists]


def prepare_places(root) -> int:
    return prepare.main(places_arguments(root))


def records_config(root, name: str, **changes):
    data = data_defaults()
    data.update(name=name, format="tfds", root=str(root), **changes)
    return data


def test_list_files_become_records_with_the_same_batches(places, capsys):
    assert prepare_places(places) == 0
    printed = capsys.readouterr().out
    assert "train: 9 images of 3 classes, largest 5, smallest 1 (published: 62,500 images of 365 classes" in printed
    records = records_config(places / "records", "places_lt")
    lists = data_defaults()
    lists.update(name="places", format="lists", root=str(places))
    lists.update(train_list=str(places / "Places_LT_train.txt"), test_list=str(places / "Places_LT_test.txt"))
    (one, one_test), (other, other_test) = load(records), load(lists)
    assert one.class_names == other.class_names == tuple(PLACES)
    assert sorted(one_test.labels) == sorted(other_test.labels)
    for first, second in zip(
        *(train_loader(each, batch_size=4, seed=0, resolution=32, num_epochs=2) for each in (one, other)), strict=True
    ):
        for key in first:
            np.testing.assert_array_equal(first[key], second[key])
    assert one.path(0) == "train/airfield/00004851.jpg"


def test_paths_as_people_write_them(places, monkeypatch, capsys):
    monkeypatch.setenv("HOME", str(places))
    monkeypatch.setenv("LISTS", str(places))
    lists = ["--train_list=$LISTS/Places_LT_train.txt", "--test_list=${LISTS}/Places_LT_test.txt"]
    assert prepare.main(["places_lt", "--data_dir=~/records", f"--image_root=file://{places}", *lists]) == 0
    assert "test: 6 images of 3 classes" in capsys.readouterr().out
    assert len(load(records_config(places / "records", "places_lt"))[1]) == 6
    assert prepare.main(["places_lt", "--data_dir=https://example.org/records"]) == 1
    assert "--data_dir is https://example.org/records, which is on the web" in capsys.readouterr().err


def test_preparing_again_changes_nothing_and_reading_needs_no_tensorflow(places, capsys):
    assert prepare_places(places) == 0
    files = {path: path.stat().st_mtime_ns for path in (places / "records").rglob("*") if path.is_file()}
    assert prepare_places(places) == 0
    assert files == {path: path.stat().st_mtime_ns for path in (places / "records").rglob("*") if path.is_file()}
    if "tensorflow" not in sys.modules:
        load(records_config(places / "records", "places_lt"))
        assert "tensorflow" not in sys.modules


def test_records_are_read_by_worker_processes(places):
    prepare_places(places)
    train, _ = load(records_config(places / "records", "places_lt"))
    threads, processes = (
        train_loader(train, batch_size=4, seed=0, resolution=16, num_epochs=1, num_workers=workers)
        for workers in (0, 1)
    )
    for first, second in zip(threads, processes, strict=True):
        np.testing.assert_array_equal(first["image"], second["image"])


def test_small_images_are_kept_in_memory(tmp_path):
    write_images(tmp_path, [f"x/{i}.png" for i in range(4)] + ["y/0.png"], (8, 8))
    (tmp_path / "Places_LT_train.txt").write_text("".join(f"x/{i}.png 0\n" for i in range(4)) + "y/0.png 1\n")
    (tmp_path / "Places_LT_test.txt").write_text("x/0.png 0\n")
    prepare_places(tmp_path)
    train, _ = load(records_config(tmp_path / "records", "places_lt"))
    assert not isinstance(train.source, RecordSource)
    np.testing.assert_array_equal(train.source[4], picture(8, 8, 4))


def test_failure_leaves_nothing_half_written_and_can_be_repeated(places, capsys):
    broken = places / TRAIN[0][0]
    content = broken.read_bytes()
    broken.unlink()
    assert prepare_places(places) == 1
    assert "names a file that is not under" in capsys.readouterr().err
    broken.write_bytes(content)
    assert prepare_places(places) == 0


def limited(root, limit: int) -> subprocess.CompletedProcess:
    """The command in a process that may write files of so many bytes only, which fails as a full disk does."""
    code = (
        "import resource, signal, sys; from lift_jax.data import prepare; "
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, resource.RLIM_INFINITY)); "
        "sys.exit(prepare.main(sys.argv[1:]))"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-c", code, *places_arguments(root)]
    return subprocess.run(command, capture_output=True, text=True, env=environment)


def test_no_room_is_one_sentence_and_leaves_nothing_half_written(places):
    result = limited(places, 4000)
    assert result.returncode == 1 and "Traceback" not in result.stderr
    assert re.search(r"There is no room in .*records \(File too large\); make room and run the same", result.stderr)
    assert not [path for path in (places / "records").rglob("*") if path.is_file()]
    with pytest.raises(UserError, match="holds no prepared data set"):
        open_builder("places_lt", str(places / "records"))
    assert limited(places, 10**9).returncode == 0
    assert len(load(records_config(places / "records", "places_lt"))[0]) == len(TRAIN)


def test_a_killed_run_is_repeated_and_two_at_once_are_refused(places, capsys):
    last = places / TRAIN[-1][0]
    content = last.read_bytes()
    last.unlink()
    os.mkfifo(last)  # The run waits there for an image that nobody writes.
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-m", "lift_jax.data.prepare", *places_arguments(places)]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.DEVNULL)
    records = places / "records"
    try:
        while not list(records.glob("places_lt/incomplete.*")):
            assert process.poll() is None
            time.sleep(0.05)
        assert prepare_places(places) == 1
        assert f"Another run is preparing a data set in {records}" in capsys.readouterr().err
    finally:
        process.kill()
        process.wait()
    with pytest.raises(UserError, match="holds no prepared data set"):
        open_builder("places_lt", str(records))
    assert list(records.glob("places_lt/incomplete.*"))
    half = records / "downloads" / "places_lt" / "archive.zip.tmp.0123"  # What a killed download leaves.
    half.mkdir(parents=True)
    last.unlink()
    last.write_bytes(content)
    assert prepare_places(places) == 0
    assert not list(records.glob("places_lt/incomplete.*")) and not half.exists()
    assert len(load(records_config(records, "places_lt"))[0]) == len(TRAIN)


def test_the_published_counts_of_the_long_tailed_subsets_follow_from_the_formula():
    published = json.loads((pathlib.Path(__file__).parent / "reference" / "cifar100_lt.json").read_text())
    for name, classes in ("cifar10", 10), ("cifar100", 100):
        images, published_classes, largest, _ = prepare.PUBLISHED[name]
        assert published_classes == classes and images == classes * largest
        for imbalance, total in prepare.LONG_TAILED[name].items():
            assert sum(int(largest * (1 / imbalance) ** (c / (classes - 1))) for c in range(classes)) == total
            if name == "cifar100":
                assert published[str(imbalance)]["total"] == total


def test_what_is_missing_is_named(tmp_path, capsys):
    with pytest.raises(UserError, match=r"lift_jax\.data\.prepare cifar100 --data_dir"):
        load(records_config(tmp_path, "cifar100"))
    assert prepare.main(["places_lt", "--data_dir", str(tmp_path)]) == 1
    assert "give --image_root, --train_list and --test_list" in capsys.readouterr().err


def test_unknown_split(places):
    prepare_places(places)
    with pytest.raises(UserError, match="no split 'val'; it has train, test"):
        load(records_config(places / "records", "places_lt", test_list="val"))


@pytest.mark.slow
def test_files_that_were_fetched_by_hand_are_taken_and_their_sums_checked(tmp_path, capsys):
    pytest.importorskip("tensorflow")
    (tmp_path / "cifar-10-binary.tar.gz").write_text("another file")
    assert prepare.main(["cifar10", f"--data_dir={tmp_path / 'records'}", f"--raw_dir={tmp_path}"]) == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert re.match("error: cifar10 cannot be prepared .*cifar-10-binary.tar.gz, has wrong checksum", error)


# TFDS's own builders. They need TensorFlow; the network alone is replaced, by files in the original layout.


def offline(monkeypatch, downloads) -> None:
    from tensorflow_datasets.core.download import DownloadManager

    pytest.importorskip("tensorflow")
    monkeypatch.setattr(DownloadManager, "download_and_extract", lambda self, urls: downloads(urls))
    monkeypatch.setattr(DownloadManager, "download", lambda self, urls: downloads(urls))


def batch_without_tensorflow(records, name: str) -> None:
    """Reads and decodes in a process of its own, where TensorFlow is installed and must not be imported."""
    code = (
        "import sys; from lift_jax.data import data_defaults, load, train_loader; data = data_defaults(); "
        f"data.update(name={name!r}, format='tfds', root={str(records)!r}); "
        "batch = next(train_loader(load(data)[0], batch_size=4, seed=0, resolution=8, num_epochs=1)); "
        "assert batch['mask'].all() and 'tensorflow' not in sys.modules"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", code], check=True, env=environment)


def add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    tar.addfile(info, io.BytesIO(content))


@pytest.mark.slow
@pytest.mark.parametrize(
    "name, folder, label_bytes", [("cifar10", "cifar-10-batches-bin", 1), ("cifar100", "cifar-100-binary", 2)]
)
def test_cifar(tmp_path, monkeypatch, name, folder, label_bytes):
    raw = tmp_path / "raw" / folder
    raw.mkdir(parents=True)
    classes = 10 if label_bytes == 1 else 100
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (classes * 6, 3, 32, 32), np.uint8)
    labels = generator.permutation(np.arange(classes * 6) % classes)
    blob = [
        bytes([0] * (label_bytes - 1) + [label]) + image.tobytes() for label, image in zip(labels, images, strict=True)
    ]
    files = [f"data_batch_{i}.bin" for i in range(1, 6)] if label_bytes == 1 else ["train.bin"]
    for number, file in enumerate(files):
        part = blob if len(files) == 1 else blob[number * 12 : number * 12 + 12]
        (raw / file).write_bytes(b"".join(part))
    (raw / ("test_batch.bin" if label_bytes == 1 else "test.bin")).write_bytes(b"".join(blob[: classes * 2]))
    for file in ("batches.meta.txt", "fine_label_names.txt", "coarse_label_names.txt"):
        count = 20 if file.startswith("coarse") else classes
        (raw / file).write_text("".join(f"thing_{i}\n" for i in range(count)))
    offline(monkeypatch, lambda _: str(tmp_path / "raw"))
    assert prepare.main([name, "--data_dir", str(tmp_path / "records")]) == 0
    # In the original order, so that the published choice of the long tail is the same images.
    train, _ = load(records_config(tmp_path / "records", name, imbalance=3))
    from lift_jax.data import longtail

    kept = longtail.subset(labels, classes, 3)
    np.testing.assert_array_equal(train.labels, labels[kept])
    assert train.class_names[:2] == ("thing_0", "thing_1")
    batch_without_tensorflow(tmp_path / "records", name)
    for index in range(len(train)):
        np.testing.assert_array_equal(train.source[index], images[kept[index]].transpose(1, 2, 0))


@pytest.mark.slow
def test_imagenet_lt(tmp_path, monkeypatch):
    from tensorflow_datasets.datasets.imagenet2012 import imagenet_common

    wnids = epath.Path(imagenet_common.label_names_file()).read_text().split()
    manual = tmp_path / "manual"
    manual.mkdir()
    kept = {}
    with tarfile.open(manual / "ILSVRC2012_img_train.tar", "w") as whole:
        for number, wnid in enumerate(wnids):
            inner = io.BytesIO()
            with tarfile.open(fileobj=inner, mode="w") as tar:
                for each in range(2):
                    add(tar, f"{wnid}_{each}.JPEG", encoded(picture(16, 18, number * 2 + each)))
            add(whole, f"{wnid}.tar", inner.getvalue())
            kept[f"{wnid}_1.JPEG"] = number
    with tarfile.open(manual / "ILSVRC2012_img_val.tar", "w") as tar:
        for number in range(1, 5):
            add(tar, f"ILSVRC2012_val_{number:08d}.JPEG", encoded(picture(16, 18, number)))
    (tmp_path / "list.txt").write_text("".join(f"train/{file[:9]}/{file} {label}\n" for file, label in kept.items()))
    offline(monkeypatch, lambda urls: dict.fromkeys(urls, str(tmp_path / "list.txt")))
    monkeypatch.setattr(imagenet_common, "get_validation_labels", lambda path: {
        f"ILSVRC2012_val_{number:08d}.JPEG": wnids[number] for number in range(1, 5)
    })  # fmt: skip
    assert prepare.main(["imagenet_lt", "--data_dir", str(tmp_path / "records"), "--raw_dir", str(manual)]) == 0
    (tmp_path / "names.txt").write_text("".join(f"{wnid} name {number}\n" for number, wnid in enumerate(wnids)))
    data = records_config(tmp_path / "records", "imagenet_lt", class_names=str(tmp_path / "names.txt"))
    train, test = load(data)
    batch_without_tensorflow(tmp_path / "records", "imagenet_lt")
    assert len(train) == 1000 and test.labels.tolist() == [1, 2, 3, 4]
    assert train.labels.tolist() == list(range(1000)) and train.class_names[7] == "name 7"


@pytest.mark.slow
def test_inaturalist(tmp_path, monkeypatch):
    import tensorflow_datasets as tfds

    labels = tfds.core.tfds_path("image_classification/i_naturalist2018/inaturalist2018_labels.txt")
    species = epath.Path(labels).read_text().split("\n")
    species = [name for name in species if name]
    categories = [{"id": i, "name": name, "kingdom": "ABC"[i % 3]} for i, name in enumerate(species)]
    paths = [f"train_val2018/Plants/{i}/{i:08x}.jpg" for i in range(len(species) + 5)]
    with tarfile.open(tmp_path / "trainval.tar.gz", "w:gz") as tar:
        content = encoded(picture(8, 8))
        for path in paths:
            add(tar, path, content)
    with tarfile.open(tmp_path / "test.tar.gz", "w:gz") as tar:
        add(tar, "test2018/00ff.jpg", content)
    for split, members in [("train", range(len(species))), ("val", range(len(species), len(paths)))]:
        annotations = {
            "images": [{"id": i, "file_name": paths[i]} for i in members],
            "annotations": [{"image_id": i, "category_id": i % len(species)} for i in members],
            "categories": [{"id": i, "supercategory": "Plantae"} for i in range(len(species))],
        }
        (tmp_path / f"{split}2018.json").write_text(json.dumps(annotations))
    (tmp_path / "categories.json").write_text(json.dumps(categories))
    downloads = {"trainval_images": "trainval.tar.gz", "test_images": "test.tar.gz"}
    files = {
        key: str(tmp_path / downloads.get(key, "")) for key in (*downloads, "train_annos", "val_annos", "categories")
    }
    offline(monkeypatch, lambda _: files)
    assert prepare.main(["i_naturalist2018", "--data_dir", str(tmp_path / "records")]) == 0
    data = records_config(tmp_path / "records", "i_naturalist2018")
    train, test = load(data)
    batch_without_tensorflow(tmp_path / "records", "i_naturalist2018")
    assert train.num_classes == 8142 and len(train) == 8142 and test.class_counts[:5].tolist() == [1] * 5
    data.update(level="kingdom", class_names=str(tmp_path / "categories.json"))
    train, test = load(data)
    assert train.class_names == ("A", "B", "C") and train.class_counts.tolist() == [2714] * 3
    assert sorted(test.labels.tolist()) == [0, 0, 1, 1, 2]


@pytest.mark.slow
def test_places_lt_from_the_records_of_places365(tmp_path, monkeypatch):
    """Lists and folders of the one layout of Places365, records of the other, which TFDS downloads."""
    import tensorflow_datasets as tfds

    scenes = epath.Path(tfds.core.tfds_path("image_classification/categories_places365.txt")).read_text().split()[:9]
    assert scenes[8] == "apartment_building/outdoor"
    data = data_defaults()
    data.update(name="places_lt", format="lists", root=str(tmp_path / "PLACES"))
    pairs = [(label, each) for label in range(9) for each in range(2 if label < 4 else 1)]
    layouts = {  # of the lists; then the archive, its annotations, and the folders in it
        "train": ("train/{folder}/{number:08d}.jpg", "train_256_places365standard.tar", "train_standard", "data_256/"),
        "test": ("val/{folder}/Places365_val_{number:08d}.jpg", "val_256.tar", "val", "val_256/"),
    }
    for split, (path, archive, annotations, folder) in layouts.items():
        listed = [path.format(folder=scenes[c].replace("/", "-"), number=10 * c + each) for c, each in pairs]
        write_images(tmp_path / "PLACES", listed, (256, 256))
        data[f"{split}_list"] = str(tmp_path / f"Places_LT_{split}.txt")
        lines = [f"{file} {label}\n" for file, (label, _) in zip(listed, pairs, strict=True)]
        pathlib.Path(data[f"{split}_list"]).write_text("".join(lines))
        with (
            tarfile.open(tmp_path / archive, "w") as tar,
            (tmp_path / f"places365_{annotations}.txt").open("w") as text,
        ):
            for file, (label, _) in reversed([*zip(listed, pairs, strict=True)]):
                inside = f"/{scenes[label][0]}/{scenes[label]}/" if split == "train" else ""
                member = inside + os.path.basename(file)
                text.write(f"{member} {label}\n")
                add(tar, folder + member.removeprefix("/"), (tmp_path / "PLACES" / file).read_bytes())
    with tarfile.open(tmp_path / "test_256.tar", "w") as tar:
        add(tar, "test_256/Places365_test_00000001.jpg", encoded(picture(256, 256)))
    (tmp_path / "places365_test.txt").write_text("Places365_test_00000001.jpg\n")
    archives = {"train": layouts["train"][1], "validation": "val_256.tar", "test": "test_256.tar"}
    files = {split: str(tmp_path / archive) for split, archive in archives.items()}
    offline(monkeypatch, lambda urls: files if isinstance(urls, dict) else str(tmp_path))
    assert prepare.main(["places365_small", f"--data_dir={tmp_path / 'records'}"]) == 0
    records = records_config(tmp_path / "records", "places365_small")
    records.update(train_list=data.train_list, test_list=data.test_list)
    batches = []
    for each in data, records:
        train, test = load(each)
        assert train.class_names[8] == "apartment_building-outdoor" and test.labels.tolist() == [c for c, _ in pairs]
        batches.append(list(train_loader(train, batch_size=8, seed=0, resolution=32, num_epochs=2)))
        batches[-1].append({str(index): test.source[index] for index in range(len(test))})
    for first, second in zip(*batches, strict=True):
        for key in first:
            np.testing.assert_array_equal(first[key], second[key])
    pathlib.Path(data.train_list).write_text(
        "".join(f"train/{scene}/00000777.jpg {c}\n" for c, scene in enumerate(scenes))
    )
    with pytest.raises(
        UserError, match=r"names images \(9 in all\) that places365_small train lacks, .*train/airfield/00000777\.jpg"
    ):
        load(records)
