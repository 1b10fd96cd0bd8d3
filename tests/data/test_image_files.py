"""What a walk through folders finds, and what it says of the rest."""

import io
import logging
import os
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pictures import picture, write_images
from PIL import Image

from lift_jax.data import image_kinds
from lift_jax.data.image_files import list_images, walk
from lift_jax.data.named_images import find_images
from lift_jax.errors import UserError

HEIC = b"\x00\x00\x00\x18ftypheic\x00\x00\x00\x00mif1heic"


def write(root, files: dict[str, bytes]) -> None:
    for path, content in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(content)


def image(form: str, mode: str = "RGB") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture(8, 8)).convert(mode).save(buffer, form)
    return buffer.getvalue()


class TestImages:
    def test_endings_of_images_in_any_letters(self, tmp_path):
        names = ["a.JPG", "b.jfif", "c.jpe", "d.PNG", "e.JP2", "f.avif", "g.WebP", "h.tiff", "i.pgm"]
        write(tmp_path, dict.fromkeys((f"dog/{name}" for name in names), b"whatever"))
        assert list_images(str(tmp_path)) == ([f"dog/{name}" for name in names], ["dog"], "")

    @pytest.mark.parametrize("form", ["JPEG", "PNG", "GIF", "BMP", "TIFF", "PPM", "WEBP", "JPEG2000", "AVIF"])
    def test_the_content_decides_where_the_ending_says_nothing(self, tmp_path, form):
        if form == "AVIF" and image_kinds.AVIF.open is None:
            pytest.skip("Pillow has AVIF since 11.3")
        write(tmp_path, {"dog/0": image(form), "dog/1.dat": image(form), "dog/2.txt": b"a word\n"})
        images, _, left_out = list_images(str(tmp_path))
        assert images == ["dog/0", "dog/1.dat"] and left_out == "1 .txt file such as dog/2.txt"

    @pytest.mark.parametrize("text", [b"BMW and others", b"P3 is a class", b"Python", b"II", b"GIF", b"MM*", b""])
    def test_text_that_begins_like_an_image_is_none(self, tmp_path, text):
        write(tmp_path, {"dog/notes.text": text})
        assert list_images(str(tmp_path)) == ([], ["dog"], "1 .text file such as dog/notes.text")

    def test_what_is_left_out_is_counted_by_kind(self, tmp_path):
        write(tmp_path, {f"dog/{i}.psd": b"8BPS" for i in range(2)} | {f"cat/{i}.txt": b"x" for i in range(3)})
        write(
            tmp_path,
            {"dog/labels": b"x", "dog/good.jpg": b"", "dog/raw.dng": b"II*\0\x08\0\0\0\x08\0\xfe\0\4\0\1\0\0\0\1"},
        )
        images, folders, left_out = list_images(str(tmp_path))
        assert images == ["dog/good.jpg"] and folders == ["cat", "dog"]
        assert "2 .psd files such as dog/0.psd (a Photoshop file; convert it to PNG or JPEG)" in left_out
        assert (
            "3 .txt files such as cat/0.txt" in left_out and "1 file without an ending such as dog/labels" in left_out
        )
        assert "1 .dng file such as dog/raw.dng (a camera's raw file" in left_out

    def test_a_kind_whose_plugin_is_missing_names_it(self, tmp_path):
        write(tmp_path, {f"dog/{i}.heic": HEIC for i in range(5)})
        images, _, left_out = list_images(str(tmp_path))
        if image_kinds.HEIF.open is not None:
            assert len(images) == 5 and not left_out
        else:
            assert left_out.startswith(
                "5 .heic files such as dog/0.heic (a HEIF image; pip install pillow-heif to read"
            )
        write(tmp_path, {"dog/really.heic": image("JPEG")})
        assert "dog/really.heic" in list_images(str(tmp_path)).images

    def test_hidden_files_and_litter_are_passed_over(self, tmp_path):
        names = [".hidden.jpg", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX/0.jpg", ".ipynb_checkpoints/0.jpg"]
        write(tmp_path, dict.fromkeys((f"dog/{name}" for name in [*names, "0.jpg"]), b"x"))
        assert list_images(str(tmp_path)) == (["dog/0.jpg"], ["dog"], "")


class TestWalk:
    def test_files_stand_before_the_folders_beside_them(self, tmp_path):
        write(tmp_path, dict.fromkeys(["b/0.jpg", "a/b/1.jpg", "a/z.jpg", "a-/2.jpg", "c.jpg"], b""))
        assert walk(str(tmp_path)).files == ["c.jpg", "a/z.jpg", "a/b/1.jpg", "a-/2.jpg", "b/0.jpg"]

    @given(st.lists(st.lists(st.sampled_from("ab~ -"), min_size=1, max_size=3), min_size=1, max_size=8))
    def test_the_order_is_that_of_os_walk(self, tmp_path_factory, places):
        root = tmp_path_factory.mktemp("walk")
        write(root, {"/".join([*(f"f{c}" for c in place[:-1]), place[-1] + ".jpg"]): b"" for place in places})
        expected = []
        for where, folders, files in os.walk(root):
            folders.sort()
            expected += [os.path.relpath(os.path.join(where, file), root) for file in sorted(files)]
        assert walk(str(root)).files == expected

    def test_links_to_folders_are_followed_once(self, tmp_path):
        write(tmp_path, dict.fromkeys(["tree/dog/0.jpg", "tree/dog/deep/1.jpg", "elsewhere/2.jpg", "away/3.jpg"], b""))
        tree = tmp_path / "tree"
        (tree / "dog" / "self").symlink_to(".")
        (tree / "dog" / "up").symlink_to("../..")
        (tree / "dog" / "a_link_before").symlink_to("deep")
        (tree / "dog" / "outside").symlink_to(tmp_path / "elsewhere")
        (tmp_path / "elsewhere" / "back").symlink_to(tree)
        (tree / "cat").symlink_to(tmp_path / "away")
        files, folders, left_out = walk(str(tree))
        assert sorted(files) == ["cat/3.jpg", "dog/0.jpg", "dog/deep/1.jpg", "dog/outside/2.jpg"]
        assert folders == ["cat", "dog"]
        (repeated,) = left_out.values()
        assert sorted(repeated) == ["dog/a_link_before", "dog/outside/back", "dog/self", "dog/up"]

    def test_two_links_to_each_other_end(self, tmp_path):
        write(tmp_path, dict.fromkeys(["a/0.jpg", "b/1.jpg"], b""))
        for one, other in "ab", "ba":
            for i in range(3):
                (tmp_path / one / f"link{i}").symlink_to(tmp_path / other)
        assert walk(str(tmp_path)).files == ["a/0.jpg", "b/1.jpg"]
        assert list_images(str(tmp_path)).left_out.startswith(
            "6 links to folders that are read already such as a/link0"
        )

    def test_pipes_and_sockets_are_not_opened(self, tmp_path):
        write(tmp_path, {"dog/0.jpg": b""})
        os.mkfifo(tmp_path / "dog" / "pipe.jpg")
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(tmp_path / "dog" / "socket.jpg"))
            images, _, left_out = list_images(str(tmp_path))
        assert images == ["dog/0.jpg"]
        assert left_out == "2 pipes, devices or sockets such as dog/pipe.jpg"

    def test_links_to_nothing_are_counted(self, tmp_path):
        (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
        (tmp_path / "gone").symlink_to(tmp_path / "nowhere")
        assert list_images(str(tmp_path)) == ([], [], "2 links to nothing such as gone")

    def test_very_deep_folders(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)
        for _ in range(1900):
            os.mkdir("d")
            os.chdir("d")
        open("0.jpg", "w").close()
        try:
            assert walk(str(tmp_path)).files == ["d/" * 1900 + "0.jpg"]
        finally:  # pytest would remove them by a recursion.
            os.remove("0.jpg")
            for _ in range(1900):
                os.chdir("..")
                os.rmdir("d")

    def test_a_folder_that_is_not_there(self, tmp_path):
        with pytest.raises(UserError, match=r"The folder .*nowhere cannot be read: No such file or directory\."):
            walk(str(tmp_path / "nowhere"))

    def test_in_a_bucket(self, bucket):
        write_images(bucket, ["dog/0.jpg", "dog/deep/1.png"])
        (bucket / "dog" / "2").write_bytes(image("PNG"))
        (bucket / "dog" / "notes.txt").write_text("no image")
        images, folders, left_out = list_images(str(bucket))
        assert images == ["dog/0.jpg", "dog/2", "dog/deep/1.png"] and folders == ["dog"]
        assert left_out == "1 .txt file such as dog/notes.txt"
        assert find_images([str(bucket)]) == [f"{bucket}/{path}" for path in images]


class TestFindImages:
    @pytest.fixture
    def photos(self, tmp_path, monkeypatch):
        write(
            tmp_path,
            dict.fromkeys(["photos/b.jpg", "photos/cat/a.jpg", "photos/cat/more/c.png", "photos/z/d.jpg"], b""),
        )
        monkeypatch.chdir(tmp_path)
        return tmp_path

    def test_patterns(self, photos):
        assert find_images(["photos/*.jpg"]) == ["photos/b.jpg"]
        assert find_images(["photos/**/*.jpg"]) == ["photos/b.jpg", "photos/cat/a.jpg", "photos/z/d.jpg"]
        assert find_images(["**/cat/**/*"]) == ["photos/cat/a.jpg", "photos/cat/more/c.png"]
        assert find_images(["photos/**"]) == find_images(["**/*"]) == sorted(find_images(["photos"]))
        assert find_images([f"{photos}/pho*/**/c.*"]) == [f"{photos}/photos/cat/more/c.png"]
        with pytest.raises(UserError, match=r"No file matches photos/\*\*/\*\.gif\."):
            find_images(["photos/**/*.gif"])

    def test_a_pattern_meets_a_link_to_its_own_folder_once(self, photos):
        for name in "xy":
            (photos / "photos" / name).symlink_to(".")
        assert len(find_images(["photos/**/*.jpg"])) == 3

    def test_what_a_folder_lacks_is_said(self, photos, caplog):
        write(photos, {"photos/notes.txt": b"x", "words/notes.txt": b"x"})
        with caplog.at_level(logging.WARNING, "lift_jax"):
            assert len(find_images(["photos"])) == 4
        assert "photos: left out: 1 .txt file such as notes.txt." in caplog.text
        with pytest.raises(UserError, match=r"folder words has no images in it, but 1 \.txt file such as notes\.txt"):
            find_images(["words"])

    def test_home_and_environment(self, photos, monkeypatch):
        monkeypatch.setenv("HOME", str(photos))
        monkeypatch.setenv("PHOTOS", str(photos / "photos"))
        assert find_images(["~/photos/b.jpg", "$PHOTOS/z"]) == [f"{photos}/photos/b.jpg", f"{photos}/photos/z/d.jpg"]
        assert find_images([f"file://{photos}/photos/b.jpg"]) == [f"{photos}/photos/b.jpg"]
        (photos / "$PHOTOS").write_bytes(b"")  # is there as it is written
        assert find_images(["$PHOTOS"]) == ["$PHOTOS"]

    @pytest.mark.parametrize("path", ["https://example.org/a.jpg", "HTTP://example.org/b"])
    def test_an_address_on_the_web_is_refused(self, path):
        for paths, listed in ([path], None), (["-"], io.StringIO(f"{path}\n")):
            with pytest.raises(UserError, match=r"image is (?i:https?)://example.org/.*on the web; download it"):
                find_images(paths, listed)

    def test_names_that_are_not_utf8(self, photos):
        name = os.fsdecode(b"gr\xfcn.jpg")
        (photos / "photos" / name).write_bytes(b"")
        assert f"photos/{name}" in find_images(["photos"])
        assert f"photos/{name}" in find_images(["photos/*.jpg"]) and f"photos/{name}" in find_images(["**/*.jpg"])
        listed = io.TextIOWrapper(io.BytesIO(b"photos/gr\xfcn.jpg\nphotos/b.jpg\r\n\n"), "utf-8")
        assert find_images(["-"], listed) == [f"photos/{name}", "photos/b.jpg"]
