"""Tables, as people's programs write them."""

import json
import logging
import os
import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import encoded, picture, write_images

from lift_jax.data import data_defaults, load, tables
from lift_jax.errors import UserError

NAMES = ("Käfer", "red fox", "dog, small", 'the "ant"')
FILES = [f"img/{c}/{i}.jpg" for c in range(4) for i in range(3)]
LABELS = [name for name in NAMES for _ in range(3)]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A folder with the images `FILES`; tests add tables."""
    folder = tmp_path_factory.mktemp("tables")
    write_images(folder, FILES, (8, 8))
    return folder


def read(root, content, file="table.csv", **settings):
    """Name of the class of each image, by a table with this content."""
    (root / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    data = data_defaults()
    data.update(name="own", format="csv", root=str(root), train_list=str(root / file), val_fraction=0.34, **settings)
    train, test = load(data)
    return {
        os.path.relpath(each.path(i), root): (int(label), each.class_names[label])
        for each in (train, test)
        for i, label in enumerate(each.labels)
    }


def expected(names):
    """Class and name of each image where the labels are these names."""
    order = sorted(set(names))
    return {file: (order.index(name), name) for file, name in zip(FILES, names, strict=True)}


def quoted(cell, delimiter, always=False):
    return '"' + cell.replace('"', '""') + '"' if always or delimiter in cell or '"' in cell else cell


@given(
    delimiter=st.sampled_from(",;\t|"),
    newline=st.sampled_from(["\n", "\r\n", "\r"]),
    encoding=st.sampled_from(["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "latin-1", "cp1252"]),
    header=st.sampled_from([("path", "label"), ("File_Name", "LABEL"), ("Image Path", "Class"), ("FILE", "text")]),
    declared=st.booleans(),
    spaces=st.booleans(),
    always=st.booleans(),
    backslashes=st.booleans(),
    swapped=st.booleans(),
    blank_end=st.booleans(),
)
def test_the_same_table_in_any_form_is_the_same(
    root, delimiter, newline, encoding, header, declared, spaces, always, backslashes, swapped, blank_end
):
    rows = [header, *zip(FILES, LABELS, strict=True)]
    if backslashes:
        rows = [(file.replace("/", "\\"), name) for file, name in rows]
    if swapped:
        rows = [row[::-1] for row in rows]
    joint = delimiter + (" " if spaces else "")
    lines = [joint.join(quoted(cell, delimiter, always) for cell in row) for row in rows]
    if declared:
        lines.insert(0, f"sep={delimiter}")
    if blank_end:
        lines += ["", delimiter]
    content = newline.join(lines).encode(encoding)
    assert read(root, content) == expected(LABELS)


def test_json_lines_are_tables(root):
    rows = [{"file_name": file, "label": name} for file, name in zip(FILES, LABELS, strict=True)]
    content = "".join(json.dumps(row) + "\n" for row in rows)
    assert read(root, content, "metadata.jsonl") == read(root, content, "table.txt") == expected(LABELS)
    numbers = "".join(json.dumps({"text": int(f[4]), "file_name": f}) + "\n" for f in FILES).replace("}\n", "}\r\n\r\n")
    assert {label for label, _ in read(root, numbers, "metadata.jsonl").values()} == {0, 1, 2, 3}


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize("folders", [("",), ("train", "test"), ("Training", "Validation")])
def test_metadata_beside_the_images(tmp_path, form, folders):
    write_images(tmp_path, [os.path.join(folder, file) for folder in folders for file in FILES], (8, 8))
    for folder in folders:
        rows = list(zip(FILES, LABELS, strict=True))
        content = "file_name,label\n" + "".join(f"{file},{quoted(name, ',')}\n" for file, name in rows)
        if form == "jsonl":
            content = "".join(json.dumps({"file_name": file, "label": name}) + "\n" for file, name in rows)
        (tmp_path / folder / f"metadata.{form}").write_text(content)
    data = data_defaults()
    data.update(name="own", format="csv", root=str(tmp_path), val_fraction=0.34)
    train, test = load(data)
    assert train.class_names == tuple(sorted(NAMES))
    assert len(train) + len(test) == (12 if folders == ("",) else 24)
    assert train.path(0).startswith(str(tmp_path / folders[0])) and test.path(0).startswith(str(tmp_path / folders[-1]))


@pytest.mark.parametrize("column", ["class_name", "label_name", "Category", "class"])
@pytest.mark.parametrize("first", [0, 1])
def test_a_number_and_a_name_column_are_both_used(root, column, first):
    numbers = [[3, 0, 2, 1][int(file[4])] + first for file in FILES]
    lines = [f"{n},{quoted(name, ',')},{file}" for n, name, file in zip(numbers, LABELS, FILES, strict=True)]
    found = read(root, "\n".join([f"label,{column},image", *lines]))
    assert found == {f: (n - first, name) for f, n, name in zip(FILES, numbers, LABELS, strict=True)}


def test_a_label_with_two_names_is_refused_with_its_lines(root):
    rows = [f"{file},{file[4]},name {file[4]}" for file in FILES]
    rows[7] = rows[7].replace("name", "nome")
    with pytest.raises(UserError, match=r"table\.csv line 9 has the name 'nome 2' for the label 2, but .*line 8 has"):
        read(root, "\n".join(["path,label,class_name", *rows]))
    rows[7] = rows[7].replace("nome 2", "")  # no name is none that contradicts
    assert read(root, "\n".join(["path,label,class_name", *rows]))[FILES[7]] == (2, "name 2")


def test_a_column_without_a_name_is_neither_names_nor_groups(root, caplog):
    """The row numbers that pandas writes."""
    rows = "".join(f"{i},{f},{n}\n" for i, (f, n) in enumerate(zip(FILES, "kkkfffdddaaa", strict=True)))
    assert read(root, f",path,label\n{rows}") == expected("kkkfffdddaaa")
    read(root, f",path,label\n{rows}", test_list=str(root / "table.csv"))
    assert "group_column" not in caplog.text


@pytest.mark.parametrize("spelt", ["{}", "./{}", "img/../{}"])
def test_an_image_in_several_rows_is_told_of(root, caplog, spelt):
    rows = [f"{f},{n}" for f, n in zip(FILES, "kkkfffdddaaa", strict=True)]
    same, other = f"{spelt.format(FILES[4])},f", f"{spelt.format(FILES[0])},a"
    data = data_defaults()
    data.update(format="csv", root=str(root), train_list=str(root / "table.csv"), test_list=str(root / "test.csv"))
    (root / "test.csv").write_text("path,label\n" + "\n".join(rows[2:3]))
    (root / "table.csv").write_text("path,label\n" + "\n".join([*rows[:2], *rows[3:], same, other]))
    with caplog.at_level(logging.WARNING, "lift_jax"):
        load(data)
    different, repeated = caplog.messages
    assert re.search(
        r"1 image is in .* train with different labels, for example \S*/img/0/0\.jpg \(\w and \w\)", different
    )
    assert re.search(r"1 image is in .* train more than once, for example \S*/img/1/1\.jpg; each counts", repeated)


@pytest.mark.parametrize("asked", ["species", "Species", " species "])
def test_the_column_of_the_labels_may_be_named(root, asked):
    rows = "".join(f"{f},{n},x{n}\n" for f, n in zip(FILES, "kkkfffdddaaa", strict=True))
    assert read(root, f"path,Species,label\n{rows}", label_column=asked) == expected("kkkfffdddaaa")
    assert read(root, f"path,Species,label\n{rows}")[FILES[0]][1] == "xk"
    with pytest.raises(
        UserError, match=r"no column 'genus', which config\.data\.label_column names; .* path, species, label"
    ):
        read(root, f"path,Species,label\n{rows}", label_column="genus")
    with pytest.raises(UserError, match=r"has the columns path, species; .*config\.data\.label_column names another"):
        read(root, f"path,species\n{FILES[0]},k\n")
    with pytest.raises(UserError, match='has the columns "", path, species; '):  # the row numbers that pandas writes
        read(root, f",path,species\n0,{FILES[0]},k\n")


@pytest.mark.parametrize(
    "splits, message",
    [
        (["train"] * 11 + [""], r"table\.csv line 13 has no split, and other lines have one; write train, val or test"),
        (
            ["train"] * 9 + ["test"] * 3,
            r"The test split of .*table\.csv has the class 'a' .* which the training split lacks",
        ),
    ],
)
def test_splits_that_leave_something_out_are_refused(root, splits, message):
    rows = [f"{f},{n},{s}\n" for f, n, s in zip(FILES, "kkkfffdddaaa", splits, strict=True)]
    with pytest.raises(UserError, match=message):
        read(root, "path,label,split\n" + "".join(rows))


def test_a_share_to_hold_out_beside_a_test_split_is_told_of(root, caplog):
    rows = [f"{f},{n},{s}\n" for f, n, s in zip(FILES, "kkkfffdddaaa", 4 * ("train", "train", "val"), strict=True)]
    with caplog.at_level(logging.WARNING, "lift_jax"):
        read(root, "path,label,split\n" + "".join(rows))
    assert "val_fraction=0.34 is not used: the test split is in the column split of " in caplog.text


def test_one_class_is_refused(root):
    with pytest.raises(UserError, match=r"own train has images of one class only \(k\), and a classifier needs two"):
        read(root, "path,label\n" + "".join(f"{file},k\n" for file in FILES[:3]))


def test_wordnet_labels_with_a_column_of_names(root):
    rows = [f"{file},n0000000{file[4]},{'zyxw'[int(file[4])]}" for file in FILES]
    assert read(root, "\n".join(["path,label,class_name", *rows])) == {f: (int(f[4]), "zyxw"[int(f[4])]) for f in FILES}


@pytest.mark.parametrize("form", ["{}.0", "0{}", "{}.", "+{}", " {} "])
def test_labels_that_a_program_wrote_as_floats_are_numbers(root, form):
    rows = [f"{file},{form.format(file[4])}" for file in FILES]
    assert {label for label, _ in read(root, "\n".join(["path,label", *rows])).values()} == {0, 1, 2, 3}
    tens = [f"{file},{int(file[4]) + 8}.0" for file in FILES]
    with pytest.raises(UserError, match=r"table\.csv has labels up to 11 but no image of 0, 1, 2, 3, 4, 5, 6, 7;"):
        read(root, "\n".join(["path,label", *tens]))


@pytest.mark.parametrize("numbers", [True, False])
@pytest.mark.parametrize(
    "bad, message",
    [
        ("nan", "line 14 has the label nan"),
        ("0.5", r"line 14 has the label 0\.5"),
        ("inf", "line 14 has the label inf"),
        ("1" + "0" * 5000, r"line 14 has the label 10{79}… \(5,001 characters\)"),
        ("", "line 14 has no label"),
    ],
)
def test_labels_that_are_none_are_named_with_their_line(root, bad, message, numbers):
    rows = [f"{file},{file[4] if numbers else file[:5]}" for file in FILES]
    with pytest.raises(UserError, match=rf"table\.csv {message}"):
        read(root, "\n".join(["path,label", *rows, f"{FILES[0]},{bad}"]))


@pytest.mark.parametrize("label", ["1000000000", "100000000000", "999999999999999999"])
def test_labels_of_absurd_size_are_refused_before_memory_is_asked_for(root, label):
    rows = [f"{file},{file[4]}" for file in FILES]
    with pytest.raises(UserError, match=rf"has labels up to {label} but no image of 4, 5, 6, .*, 12, 13 and "):
        read(root, "\n".join(["path,label", *rows, f"{FILES[0]},{label}"]))


@pytest.mark.parametrize(
    "content, message",
    [
        ("a;b\nx;y\n", r"has the columns a, b; it needs one of .* separated by a comma, semicolon, tab or bar"),
        ("image\nx.jpg\n", "has the columns image; it needs"),
        ("", r"has the columns \(none\)"),
        ("path,label\n", "has no rows"),
        ("path,label\n" + FILES[0] + ",a,b\n", "line 2 has 3 cells, but there are 2 columns"),
        ('path,label\n"' + FILES[0] + ",a\n" + FILES[1] + ",b\n", "has a quote that is not closed .*in line 2"),
        ("path,label\n" + "a" * 200_000 + ",b\n", "is no table: field larger than field limit"),
        ('{"file_name": "a.jpg"}\n', "has the columns file_name; it needs"),
        ('{"file_name": "a.jpg", "label": "a"}\n{"file_name"', "line 2 is no valid JSON"),
        ('{"file_name": "a.jpg", "label": "a"}\n5\n', "line 2 is no JSON object"),
        ('{"file_name": "a.jpg", "label": {"a": 1}}\n', "line 1 has no label"),
        ('{"file_name": ["a.jpg"], "label": "a"}\n', "line 1 has no file_name"),
        ('{"a": ' * 100_000, "line 1 is no valid JSON"),
        ('{"file_name": "a\\u0000.jpg", "label": "a"}\n', r"An image of .*a\\x00\.jpg', which has a NUL character"),
        ('{"file_name": "\\ud800.jpg", "label": "a"}\n', r"names a file that is not under .*: \\ud800\.jpg;"),
        (
            "url,label\nhttps://example.org/a.jpg,a\n",
            r"An image of .* is https://example\.org/a\.jpg, which is on",
        ),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", "is no text"),
        ("path,label\n".encode("utf-16")[:-1], "is no text"),
    ],
)
def test_what_is_no_table_is_refused(root, content, message):
    with pytest.raises(UserError, match=message) as refused:
        read(root, content)
    assert "table.csv" in str(refused.value)


def test_paths_are_found_as_the_disk_has_them(tmp_path, caplog):
    files = ["Käfer.jpg", "e\u0301.jpg", "with, comma.jpg", "back\\slash.jpg", os.fsdecode(b"gr\xfcn.jpg")]
    for i, name in enumerate(files):
        (tmp_path / name).write_bytes(encoded(picture(8, 8, i)))
    written = ["Ka\u0308fer.jpg", "\u00e9.jpg", '"with, comma.jpg"', "back\\slash.jpg", "grün.jpg"]
    content = "path,label\n" + "".join(f"{path},{i % 2}\n" for i, path in enumerate(written))
    assert sorted(read(tmp_path, content)) == sorted(files)
    with pytest.raises(UserError, match=r"names a file that is not under .*: no/Käfer\.jpg; set config\.data\.root"):
        read(tmp_path, content + "no/Käfer.jpg,0\n")


def test_class_names_of_a_table_are_matched_by_name(root):
    rows = [f"{file},{'dcba'[int(file[4])]}" for file in FILES]
    (root / "names.txt").write_text("d\nb\na\nc\n")
    found = read(root, "\n".join(["path,label", *rows]), class_names=str(root / "names.txt"))
    assert {name for _, name in found.values()} == set("abcd")
    assert all(name == "dcba"[int(file[4])] for file, (_, name) in found.items())
    (root / "names.txt").write_text("d\nb\na\nx\n")
    with pytest.raises(UserError, match=r"has 4 names but none for label c \(in the file: d, b, a, x; labels: a, b, c"):
        read(root, "\n".join(["path,label", *rows]), class_names=str(root / "names.txt"))


def test_lists_with_other_separators(root, caplog):
    data = data_defaults()
    data.update(name="own", format="lists", root=str(root))
    data.update(train_list=str(root / "list.txt"), test_list=str(root / "list.txt"))
    plain = "".join(f"{file} {file[4]}\n" for file in FILES)
    forms = [
        plain,
        plain.replace(" ", ","),
        plain.replace(" ", ", "),
        plain.replace(" ", "; "),
        plain.replace(" ", "\t"),
        plain.replace(" ", " | "),
        plain.replace("\n", ".0\r\n"),
        plain.replace("\n", "\r"),
        plain.replace("/", "\\"),
        "".join(f'"{file}" "{file[4]}"\n' for file in FILES),
        "sep=;\n" + plain.replace(" ", ";"),
        "\ufeff" + plain,
    ]
    for form in forms:
        (root / "list.txt").write_bytes(form.encode())
        train, _ = load(data)
        assert [train.path(i) for i in range(12)] == [str(root / file) for file in FILES], form
        np.testing.assert_array_equal(train.labels, [int(file[4]) for file in FILES])
    with caplog.at_level(logging.WARNING, "lift_jax"):
        (root / "list.txt").write_bytes(plain.encode("utf-16"))
        assert len(load(data)[0]) == 12
    assert "list.txt is not UTF-8 and is read as UTF-16" in caplog.text


@pytest.mark.parametrize(
    "line, message",
    [
        ("img/0/0.jpg,1", "line 13 has , before the label, unlike the lines before it"),
        ("img/0/0.jpg", r"line 13 ends in 'img/0/0\.jpg'"),
        (
            "img/0/0.jpg --1",
            r"line 13 ends in '--1'; each line is an image's path, a space, and a label, which",
        ),
        ("img/0/0.jpg ²", "line 13 ends in '²'"),
        ("img/0/0.jpg 0.5", r"line 13 ends in '0\.5'"),
        ("img/0/0.jpg nan", "line 13 ends in 'nan'"),
        ("img/0/0.jpg 1" + "0" * 5000, r"line 13 ends in '10{79}… \(5,001 characters\)'"),
        ("img/0/0.jpg 1000000000", "has labels up to 1000000000 but no image of 4, 5"),
        ("img/0/0.jpg -1", "has the label -1"),
        (" 3", "line 13 has no path before the label 3"),
        ("http://example.org/a.jpg 1", "An image of .* is http://example.org/a.jpg, which is on the web"),
    ],
)
def test_wrong_lines_of_lists(root, line, message):
    (root / "wrong.txt").write_text("".join(f"{file} {file[4]}\n" for file in FILES) + line)
    data = data_defaults()
    data.update(name="own", format="lists", root=str(root))
    data.update(train_list=str(root / "wrong.txt"), test_list=str(root / "wrong.txt"))
    with pytest.raises(UserError, match=rf"wrong\.txt.*{message}|{message}") as refused:
        load(data)
    assert "wrong.txt" in str(refused.value)


def test_a_list_whose_bytes_are_the_disks_is_read_whatever_they_are(tmp_path):
    name = os.fsdecode("кот.jpg".encode("koi8-r"))
    write_images(tmp_path, [name, "dog.jpg"], (8, 8))
    (tmp_path / "list.txt").write_bytes(os.fsencode(name) + b" 0\ndog.jpg 1\n")
    data = data_defaults()
    data.update(name="own", format="lists", root=str(tmp_path))
    data.update(train_list=str(tmp_path / "list.txt"), test_list=str(tmp_path / "list.txt"))
    assert load(data)[0].path(0) == str(tmp_path / name)


@given(
    st.binary(max_size=60)
    | st.text(max_size=60).map(lambda each: each.encode("utf-8", "surrogatepass"))
    | st.lists(
        st.tuples(st.sampled_from([*FILES, "no.jpg", "http://a", ""]), st.text("0123a,; |\t\"'.\\²", max_size=4)),
        max_size=6,
    ).map(lambda rows: "\n".join(["path,label", *(",".join(row) for row in rows)]).encode())
    | st.lists(st.tuples(st.sampled_from(FILES), st.sampled_from(["0", "1", "2.0", "x", ""])), max_size=6).map(
        lambda rows: "\n".join(" ".join(row) for row in rows).encode()
    ),
    st.sampled_from(["csv", "lists", "inaturalist"]),
)
def test_any_file_is_read_or_refused(root, content, form):
    (root / "any.jsonl" if content.startswith(b"{") else root / "any").write_bytes(content)
    (root / "any").write_bytes(content)
    data = data_defaults()
    data.update(name="own", format=form, root=str(root), val_fraction=0.34)
    data.update(train_list=str(root / "any"), test_list=str(root / "any"))
    try:
        train, test = load(data)
    except UserError as error:
        assert str(root) in str(error) or "own" in str(error) or "config.data" in str(error)
        return
    for each in train, test:
        assert all(os.path.exists(each.path(i)) for i in range(len(each)))
        assert each.labels.min() >= 0 and each.labels.max() < each.num_classes


def test_two_columns_of_one_name_must_say_the_same(tmp_path):
    file = tmp_path / "table.csv"
    file.write_text("path,label,Label\na.png,x,x\nb.png,y,y\n")
    assert tables.read_columns(str(file)).cells["label"] == ["x", "y"]
    file.write_text("path,label,Label\na.png,x,y\nb.png,y,x\n")
    with pytest.raises(UserError, match="has two columns Label with different cells; leave the right one"):
        tables.read_columns(str(file))
