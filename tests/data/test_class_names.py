"""Files of class names: what can be matched by name is, and what is not sure is refused."""

import json
import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import write_images

from lift_jax.data import classnames, data_defaults, load
from lift_jax.data.matching import in_order
from lift_jax.data.preview import describe
from lift_jax.errors import UserError

ANIMALS = ["ant", "bee", "cat", "dog"]
NUMBERS = [str(i) for i in range(12)]
WORDS = [f"name{i}" for i in range(12)]


def folders(root, names):
    """`config.data` of a folder of each name with two images."""
    write_images(root, [f"{name}/{i}.jpg" for name in names for i in range(2)], (8, 8))
    data = data_defaults()
    data.update(name="own", format="folder", root=str(root), val_fraction=0.5)
    return data


def named(root, folder_names, content, file="names.txt"):
    """The class name of each folder, by a file of names with this content."""
    data = folders(root / "images", folder_names)
    (root / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    data.class_names = str(root / file)
    train, test = load(data)
    for each in train, test:
        assert [os.path.basename(os.path.dirname(each.path(i))) for i in range(len(each))] == [
            in_order(folder_names)[label] for label in each.labels
        ]
    return dict(zip(in_order(folder_names), train.class_names, strict=True)), train.names_from


@pytest.mark.parametrize("keys", [NUMBERS[:4], ["k00", "k01", "k02", "k03"], ANIMALS])
def test_a_number_a_code_and_a_name(tmp_path, keys):
    """Whichever of the three the folders are called by, a column of codes has no names."""
    rows = {i: [f"k0{i}", name] for i, name in enumerate(ANIMALS)}
    names, _ = named(tmp_path, keys, json.dumps(rows), "names.json")
    assert list(names.values()) == ANIMALS


@pytest.mark.parametrize("order", [[0, 1, 2, 3], [3, 0, 1, 2], [1, 3, 0, 2]])
@pytest.mark.parametrize(
    "form",
    [
        lambda pairs: ("txt", "".join(f"{key} {name}\n" for key, name in pairs)),
        lambda pairs: ("txt", "".join(f"{key},{name}\n" for key, name in pairs)),
        lambda pairs: ("txt", "".join(f"{name};{key}\n" for key, name in pairs)),
        lambda pairs: ("txt", "".join(f'"{key}" | "{name}"\n' for key, name in pairs)),
        lambda pairs: ("txt", "".join(f"{key}: {name}\n" for key, name in pairs)),
        lambda pairs: ("csv", "folder,class_name\n" + "".join(f"{key},{name}\n" for key, name in pairs)),
        lambda pairs: ("csv", "sep=;\nname;folder\n" + "".join(f"{name};{key}\n" for key, name in pairs)),
        lambda pairs: ("tsv", "id\tfolder\tname\n" + "".join(f"7\t{key}\t{name}\n" for key, name in pairs)),
        lambda pairs: ("json", json.dumps(dict(pairs))),
        lambda pairs: ("json", json.dumps([{"name": name, "folder": key} for key, name in pairs])),
        lambda pairs: ("json", json.dumps({str(i): list(pair) for i, pair in enumerate(pairs)})),
    ],
)
def test_folder_to_name_in_every_form_and_order(tmp_path, form, order):
    pairs = [(ANIMALS[i], f"a big {ANIMALS[i]}") for i in order]
    ending, content = form(pairs)
    expected = {name: f"a big {name}" for name in ANIMALS}
    assert named(tmp_path, ANIMALS, content, f"names.{ending}")[0] == expected


@pytest.mark.parametrize(
    "content, file",
    [
        ("great dane,Dogge\nred fox,Fuchs\n", "names.txt"),
        ('"great dane" Dogge\n"red fox" Fuchs\n', "names.txt"),
        ("red_fox\tFuchs\nGreat-Dane\tDogge\n", "names.txt"),
        ("Fuchs,red fox\nDogge,great dane\n", "names.txt"),
        ('{"great dane": "Dogge", "red fox": "Fuchs"}', "names.json"),
        ("n02109047 great dane\n", None),
    ],
)
def test_folders_with_spaces(tmp_path, content, file):
    if file is None:
        with pytest.raises(UserError, match="none for class folder red fox"):
            named(tmp_path, ["great dane", "red fox"], content)
    else:
        assert named(tmp_path, ["great dane", "red fox"], content, file)[0] == {
            "great dane": "Dogge",
            "red fox": "Fuchs",
        }


@pytest.mark.parametrize(
    "content, file, source",
    [
        ("\n".join(WORDS), "names.txt", "by position in the order of the class folders"),
        (json.dumps(WORDS), "names.json", "by position in the order of the class folders"),
        (json.dumps(dict(zip(NUMBERS, WORDS, strict=True))), "names.json", "by name"),
        (json.dumps({f"{i:02d}": name for i, name in enumerate(WORDS)}), "names.json", "by name"),
        (json.dumps({name: i for i, name in enumerate(WORDS)}), "names.json", "by name"),
        (json.dumps({"id2label": {str(i): name for i, name in enumerate(WORDS)}, "x": 1}), "names.json", "by name"),
        ("".join(f"{i} {WORDS[i]}\n" for i in reversed(range(12))), "names.txt", "by name"),
        ("".join(f"{WORDS[i]},{i:03d}\n" for i in reversed(range(12))), "names.txt", "by name"),
        ("label,class_name\n" + "".join(f"{i},{WORDS[i]}\n" for i in (*range(9, 12), *range(9))), "n.csv", "by name"),
        ("class_name\n" + "\n".join(WORDS), "names.csv", "by position in the order of the class folders"),
    ],
)
@pytest.mark.parametrize("width", [1, 2])
def test_number_folders_are_named_by_number(tmp_path, content, file, source, width):
    names, said = named(tmp_path, [f"{i:0{width}d}" for i in range(12)], content, file)
    assert list(names.values()) == WORDS
    assert said == f"{tmp_path / file}, {source}"


def test_number_folders_without_names_are_in_the_order_of_numbers(tmp_path):
    train, _ = load(folders(tmp_path, ["10", "9", "1"]))
    assert train.class_names == ("1", "9", "10") and train.names_from == "the class folders"


@given(st.permutations(ANIMALS), st.sampled_from(["lines", "json", "comma", "capitals"]))
def test_the_order_of_names_that_are_the_folders_does_not_matter(tmp_path_factory, order, form):
    root = tmp_path_factory.getbasetemp() / "any_order"
    content = {
        "lines": "\n".join(order),
        "json": json.dumps(order),
        "comma": "".join(f"{i},{name}\n" for i, name in enumerate(order)),
        "capitals": "\n".join(name.capitalize() for name in order),
    }[form]
    names, _ = named(root, ANIMALS, content, "names.json" if form == "json" else "names.txt")
    assert {key: name.lower() for key, name in names.items()} == {name: name for name in ANIMALS}


def test_composed_and_decomposed_names_are_the_same(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD"))
    content = json.dumps({decomposed: "a beetle", "ant": "an ant"})
    assert named(tmp_path, ["ant", composed], content, "names.json")[0] == {"ant": "an ant", composed: "a beetle"}


def test_the_folders_of_the_test_split_are_matched_by_name(tmp_path):
    composed, decomposed = (unicodedata.normalize(form, "Käfer") for form in ("NFC", "NFD"))
    write_images(tmp_path, [f"train/{composed}/0.jpg", "train/Ant/1.jpg"], (8, 8))
    write_images(tmp_path, [f"test/{decomposed}/2.jpg", "test/ant/3.jpg"], (8, 8))
    data = data_defaults()
    data.update(name="own", format="folder", root=str(tmp_path))
    train, test = load(data)
    assert train.class_names == ("Ant", composed)
    assert {test.path(i)[-5]: label for i, label in enumerate(test.labels)} == {"2": 1, "3": 0}


@pytest.mark.parametrize(
    "content, file, message",
    [
        (
            "ant\nbee\nwolf\ncat",
            "n.txt",
            r"has 4 names but none for class folder dog \(in the file: ant, bee, wolf, ",
        ),
        ("ant\nbee\ncat\nkitty", "n.txt", "has 4 names but none for class folder dog"),
        ("ant\nbee\ncat\ndog\nelk", "n.txt", "has 5 class names, but there are 4 class folders"),
        ("one\ntwo", "n.txt", r"has 2 class names, but there are 4 class folders \(in the file: one, two; class "),
        ("dog a dog\ncat a cat\nbea a bee\nant an ant", "n.txt", "none for class folder bee"),
        ("dog,a dog\ncat,a cat\nbea,a bee\nant,an ant", "n.txt", "none for class folder bee"),
        ('{"dog": "a dog", "cat": "a cat"}', "n.json", "none for class folder ant, bee"),
        (
            "ant,bee\nbee,cat\ncat,dog\ndog,ant\n",
            "n.csv",
            r"can be read in two ways.*write label,class_name as",
        ),
        ('{"ant": true}', "n.json", "must hold a list of class names, or an object"),
        ('[["a"], "b"]', "n.json", "must hold a list of class names, or an object"),
        ("5", "n.json", "must hold a list of class names, or an object"),
        ("[" * 200_000 + "]" * 200_000, "n.json", "is no valid JSON"),
        ("[]", "n.json", "holds no class names"),
        ("", "n.txt", "holds no class names"),
        (b"\x89PNG\r\n\x1a\n\0\0", "n.txt", "is no text"),
        ('["ant", "bee", "cat", "\\ud800"]', "n.json", "none for class folder dog"),
        (
            '["a", "b", "c", "\\ud800"]',
            "n.json",
            r"name of class 3 \(from .*n\.json.*\) is \\ud800, which has half a",
        ),
        ('["a", "b", "c", "\\u0000"]', "n.json", r"The name of class 3 \(from .*n\.json.*\) is \\x00, which has a NUL"),
        ('["a", "b", "c", " "]', "n.json", r"The name of class 3 \(from .*n\.json.*\) is empty"),
        (json.dumps(["a", "b", "c", "d" * 100_000]), "n.json", r"is d{80}… \(100,000 characters\)"),
        (b"a\n" * 1_000_001, "n.txt", "has 1,000,001 lines"),
    ],
)
def test_names_that_are_not_sure_are_refused(tmp_path, content, file, message):
    with pytest.raises(UserError, match=message) as refused:
        named(tmp_path, ANIMALS, content, file)
    assert file in str(refused.value) and len(str(refused.value)) < 600


@pytest.mark.parametrize(
    "content, file",
    [
        ("ant,Ant\nbee,Bee\ncat,Cat\ndog,Dog\n", "n.csv"),
        ("Dog;dog\nAnt;ant\nCat;cat\nBee;bee\n", "n.csv"),
        ("'ant' 'Ant'\n'bee' 'Bee'\n'cat' 'Cat'\n'dog' Dog\n", "n.txt"),
        ("0,dog,Dog\n1,cat,Cat\n2,bee,Bee\n3,ant,Ant\n", "n.csv"),
        (",folder,class_name\n0,dog,Dog\n1,cat,Cat\n2,bee,Bee\n3,ant,Ant\n", "n.csv"),
        ("Folder;Tier\ndog;Dog\ncat;Cat\nbee;Bee\nant;Ant\n", "n.csv"),
        ("dog,Dog\ndog,Dog\ncat,Cat\nbee,Bee\nant,Ant\n", "n.csv"),
    ],
)
def test_the_column_that_is_spelt_as_the_folders_has_the_keys(tmp_path, content, file):
    assert named(tmp_path, ANIMALS, content, file)[0] == {key: key.capitalize() for key in ANIMALS}


def test_a_heading_is_no_header(tmp_path):
    with pytest.raises(UserError, match="has 5 class names, but there are 4 class folders"):
        named(tmp_path, ANIMALS, "names:\n  0: ant\n  1: bee\n  2: cat\n  3: dog\n")


def test_a_header_decides_between_two_columns_of_names(tmp_path):
    content = "label,class_name\nant,bee\nbee,cat\ncat,dog\ndog,ant\n"
    assert named(tmp_path, ANIMALS, content)[0] == {"ant": "bee", "bee": "cat", "cat": "dog", "dog": "ant"}


def test_wordnet_folders_with_names_alone_are_named_by_position(tmp_path):
    names, said = named(tmp_path, ["n01443537", "n01629819"], "goldfish\nsalamander\n")
    assert names == {"n01443537": "goldfish", "n01629819": "salamander"} and "by position" in said
    content = "n01629819\tEuropean fire salamander, Salamandra\nn01443537\tgoldfish\nn99999999\tno folder\n"
    names, said = named(tmp_path, ["n01443537", "n01629819"], content)
    assert names == {"n01443537": "goldfish", "n01629819": "European fire salamander, Salamandra"} and "by name" in said
    names, _ = named(tmp_path, ["n01443537", "n01629819"], "0 goldfish\n1 salamander\n")
    assert list(names.values()) == ["goldfish", "salamander"]


def test_a_folder_whose_name_is_no_utf8_is_read_as_latin_1(tmp_path):
    folder = os.fsdecode(b"gr\xfcn")
    assert named(tmp_path, ["ant", folder], "ant Ameise\ngrün Grünspecht\n")[0] == {
        "ant": "Ameise",
        folder: "Grünspecht",
    }
    assert load(folders(tmp_path / "images", ["ant", folder]))[0].class_names == ("ant", "grün")


def lists(root, labels, names=None, file="names.txt", paths=None):
    """The names of the classes of a list file, whose images are in one folder if `paths` does not say otherwise."""
    paths = paths or [f"images/{i}.jpg" for i in range(len(labels))]
    write_images(root, paths, (8, 8))
    (root / "list.txt").write_text("".join(f"{p} {label}\n" for p, label in zip(paths, labels, strict=True)))
    data = data_defaults()
    data.update(name="own", format="lists", root=str(root))
    data.update(train_list=str(root / "list.txt"), test_list=str(root / "list.txt"))
    if names is not None:
        (root / file).write_text(names)
        data.class_names = str(root / file)
    train, _ = load(data)
    by_path = {train.path(i): train.class_names[label] for i, label in enumerate(train.labels)}
    return [by_path[str(root / path)] for path in paths]


@pytest.mark.parametrize(
    "names, file, expected",
    [
        ("a\nb\nc\n", "n.txt", "abc"),  # a name a line
        ("3 c\n1 a\n2 b\n", "n.txt", "abc"),
        ("label,class_name\n2,b\n3,c\n1,a\n", "n.csv", "abc"),
        ('{"1": "a", "2": "b", "3": "c"}', "n.json", "abc"),
        ('{"0": "background", "1": "a", "2": "b", "3": "c"}', "n.json", None),  # which has no image
    ],
)
def test_labels_from_one_on_are_read_where_names_say_so(tmp_path, names, file, expected):
    if expected is None:
        with pytest.raises(UserError, match=r"no image of class 0 \(background\)"):
            lists(tmp_path, [1, 2, 3], names, file)
    else:
        assert lists(tmp_path, [1, 2, 3], names, file) == list(expected)


def test_labels_from_one_on_are_refused_without_names(tmp_path):
    with pytest.raises(UserError, match=r"labels from 1 to 3 and no image of 0; subtract one .* config\.data\.class"):
        lists(tmp_path, [1, 2, 3])
    with pytest.raises(UserError, match="label 3, but there are 3 classes, 0 to 2"):
        lists(tmp_path, [0, 1, 2, 3], "a\nb\nc\n")
    assert lists(tmp_path, [0, 1, 2], "a\nb\nc\n") == ["a", "b", "c"]


def test_numbers_of_absurd_size_are_no_labels(tmp_path):
    with pytest.raises(UserError, match="label 2, but there are 2 classes"):
        lists(tmp_path, [0, 1, 2], f"0 a\n1{'0' * 17} b\n")
    assert lists(tmp_path, [0, 1], f"0 a\n1{'0' * 17} b\n") == ["0 a", f"1{'0' * 17} b"]


def test_labels_with_gaps_are_read_where_names_say_so(tmp_path):
    assert lists(tmp_path, [9, 3, 7], '{"3": "c", "7": "g", "9": "i"}', "names.json") == ["i", "c", "g"]
    with pytest.raises(UserError, match="none for label 7"):
        lists(tmp_path, [9, 3, 7], '{"3": "c", "9": "i"}', "names.json")


FOLDERS = [f"train/{name}/0.jpg" for name in ("bee", "cat", "ant")]


@pytest.mark.parametrize(
    "names, file",
    [
        ("ant\ncat\nbee\n", "names.txt"),
        ("cat,a cat\nant,an ant\nbee,a bee\nelk,an elk", "names.txt"),
        ('{"ant": "an ant", "bee": "a bee", "cat": "a cat"}', "names.json"),
    ],
)
def test_lists_are_named_by_their_images_folders(tmp_path, names, file):
    assert [each.split()[-1] for each in lists(tmp_path, [0, 1, 2], names, file, FOLDERS)] == ["bee", "cat", "ant"]


@pytest.mark.parametrize(
    "names, file, message",
    [
        (
            "cat a cat\nant an ant\nbee a bee\n",
            "n.txt",
            r"in two ways, since its lines are names, or begin with the",
        ),
        ("bee a bee\ncat a cat\nant an ant\n", "n.txt", r"in two ways.*\(bee, cat, ant\); write a line `folder,name`"),
        ("cat a cat\nant an ant\nba a bee\n", "n.txt", "has 3 names but none for folder bee"),
        ("cat\nant\nwasp\n", "n.txt", r"none for folder bee \(in the file: cat, ant, wasp; folders: bee, cat, ant\)"),
        ('{"cat": "a cat"}', "n.json", "has 1 names but none for folder bee, ant"),
    ],
)
def test_lists_whose_names_are_not_sure_are_refused(tmp_path, names, file, message):
    with pytest.raises(UserError, match=message):
        lists(tmp_path, [0, 1, 2], names, file, FOLDERS)


def test_names_that_are_no_folders_are_by_position(tmp_path):
    assert lists(tmp_path, [0, 1, 2], "x\ny\nz\n", paths=FOLDERS) == ["x", "y", "z"]
    assert lists(tmp_path, [0, 1, 2], "1\n0\nx\n", paths=FOLDERS) == ["1", "0", "x"]
    numbers = [f"train/{i}/0.jpg" for i in range(3)]
    assert lists(tmp_path, [0, 1, 2], "1 spot\n2\n3\n", paths=numbers) == ["1 spot", "2", "3"]


@given(st.permutations("012"))
def test_names_that_are_the_labels_are_matched_in_any_order(tmp_path_factory, order):
    assert lists(tmp_path_factory.getbasetemp() / "numbers", [2, 0, 1], "\n".join(order)) == ["2", "0", "1"]


def test_the_preview_says_what_was_understood(tmp_path):
    train, _ = load(folders(tmp_path / "a", [f"c{i}\n" for i in range(5)]))
    assert describe(train) == (
        "5 classes: 0 = c0\\n (1 image), 1 = c1\\n (1 image), 2 = c2\\n (1 image), …, 4 = c4\\n (1 image); "
        "names from the class folders."
    )
    write_images(tmp_path / "b", [f"x/{i}.jpg" for i in range(5)] + ["y/0.jpg"], (8, 8))
    train, _ = load(folders(tmp_path / "b", ["x", "y"]))
    assert describe(train) == "2 classes: 0 = x (3 images), 1 = y (1 image); names from the class folders."
    assert describe(load(data_defaults())[0]).endswith("9 = nine (114 images); names from the data set.")


@given(
    st.text(max_size=40)
    | st.binary(max_size=40)
    | st.lists(st.text("antbecdog ,;\t0123\"':|\n", max_size=9), max_size=5).map("\n".join)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | st.sampled_from(ANIMALS),
        lambda each: st.lists(each, max_size=4) | st.dictionaries(st.sampled_from(ANIMALS) | st.text(max_size=3), each),
        max_leaves=6,
    ).map(json.dumps),
    st.sampled_from(["names.txt", "names.json", "names.csv"]),
    st.booleans(),
)
def test_any_file_of_names_is_read_or_refused(tmp_path_factory, content, file, numbers):
    root = tmp_path_factory.getbasetemp() / "any_names"
    content = content.encode("utf-8", "surrogatepass") if isinstance(content, str) else content
    try:
        if numbers:
            (root / file).parent.mkdir(exist_ok=True)
            (root / file).write_bytes(content)
            classes = classnames.of_numbers([0, 1, 2, 3], str(root / file), dict(enumerate(ANIMALS)), "")
            names = {str(label): name for label, name in zip(classes.labels, classes.names, strict=True)}
        else:
            names, _ = named(root, ANIMALS, content, file)
            assert set(names) == set(ANIMALS)
    except UserError as error:
        assert str(root / file) in str(error) and "\n" not in str(error)
        return
    assert all(isinstance(name, str) for name in names.values())
