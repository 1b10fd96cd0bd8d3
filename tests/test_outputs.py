"""Results are there whole or not at all, and paths are taken as people write them."""

import os
from pathlib import Path

import pytest

from lift_jax.bench.abuse.full_disk import full_disk
from lift_jax.errors import UserError
from lift_jax.files import check_file, filling, place, writing
from lift_jax.text import printable


class TestPlaces:
    def test_home_variables_and_files(self, tmp_path, monkeypatch):
        monkeypatch.setenv("HOME", str(tmp_path))
        monkeypatch.setenv("RUNS", str(tmp_path / "runs"))
        assert Path(place("~/runs/a", "RUN")) == tmp_path / "runs" / "a"
        assert Path(place("$RUNS/a", "RUN")) == tmp_path / "runs" / "a"
        assert Path(place(f"file://{tmp_path}/a", "RUN")) == tmp_path / "a"
        assert Path(place(tmp_path / "plain", "RUN")) == tmp_path / "plain"

    @pytest.mark.parametrize("path", ["http://example.org/run", "foo://run", "a\0b"])
    def test_what_is_no_place(self, path):
        with pytest.raises(UserError, match=r"^--workdir is "):
            place(path, "--workdir")


class TestFilling:
    def test_a_new_folder_appears_whole(self, tmp_path):
        folder = tmp_path / "a" / "export"
        with filling(folder) as part:
            (part / "model").write_text("whole")
            assert not folder.exists()
        assert [file.name for file in folder.iterdir()] == ["model"]
        assert [each.name for each in folder.parent.iterdir()] == ["export"]

    def test_files_are_replaced_and_others_stay(self, tmp_path):
        (tmp_path / "model").write_text("old")
        (tmp_path / "mine").write_text("mine")
        with filling(tmp_path) as part:
            (part / "model").write_text("new")
            assert (tmp_path / "model").read_text() == "old"
        assert {file.name: file.read_text() for file in tmp_path.iterdir()} == {"model": "new", "mine": "mine"}

    @pytest.mark.parametrize("there", [False, True])
    def test_a_failure_changes_nothing(self, tmp_path, there):
        folder = tmp_path / "a" / "export"
        if there:
            folder.mkdir(parents=True)
            (folder / "model").write_text("old")
        with (
            pytest.raises(UserError, match=r"export.* cannot be written \(File too large\); make room .* or go away"),
            full_disk(1000),
            writing(folder, "go away"),
            filling(folder) as part,
        ):
            (part / "model").write_bytes(bytes(2000))
        found = sorted(str(each.relative_to(tmp_path)) for each in tmp_path.rglob("*"))
        assert found == (["a", "a/export", "a/export/model"] if there else [])
        assert not there or (folder / "model").read_text() == "old"


class TestCheckFile:
    def test_what_can_be_written_is_left_alone(self, tmp_path):
        (tmp_path / "page.html").write_text("old")
        check_file(tmp_path / "page.html", "go away")
        check_file(tmp_path / "new" / "page.html", "go away")
        assert [file.name for file in tmp_path.iterdir()] == ["page.html"]
        assert (tmp_path / "page.html").read_text() == "old"

    def test_a_folder_of_that_name(self, tmp_path):
        with pytest.raises(UserError, match=r"cannot be written \(a folder has this name\); .* or go away"):
            check_file(tmp_path, "go away")

    def test_a_file_in_the_place_of_its_folder(self, tmp_path):
        (tmp_path / "file").write_text("")
        with pytest.raises(UserError, match=r"file.page\.html cannot be written \(Not a directory\)"):
            check_file(tmp_path / "file" / "page.html", "go away")


def test_names_are_shown_on_one_line():
    assert printable("Käfer & 猫") == "Käfer & 猫"
    assert printable("a\nb\x00c\u2028") == r"a\nb\x00c\u2028"
    assert printable(os.fsdecode(b"gr\xfcn")) == r"gr\udcfcn"
    assert printable("x" * 100_000) == "x" * 199 + "…"
