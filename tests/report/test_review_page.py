"""The page of a review: what stands on it, and what a person does on it, with the keyboard and in a real browser."""

import csv
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lift_jax.errors import UserError
from lift_jax.evaluation.findings import Finding, Review
from lift_jax.report import review_page

EVIL = 'robin "<script>alert(1)</script>", & co'


def picture() -> np.ndarray:
    return np.full((8, 8, 3), 128, np.uint8)


def found(**changes) -> Review:
    findings = {
        "suspected": [
            Finding(f"train/{EVIL}.png", EVIL, "wren", 0.01, pictures=(picture,)),
            Finding("train/b.png", "wren", "thrush", 0.2, pictures=(picture,)),
            Finding("train/c.png", "wren", "thrush", 0.3, pictures=(picture,)),
        ],
        "copies": [Finding("train/d.png", "wren", "thrush", 0.99, "test/e.png", "test", (picture, picture))],
        "uncertain": [Finding("new/f.png", "", "wren", 0.34, pictures=(picture,))],
    }
    return Review("birds: images to look at", "By others.", (EVIL, "thrush", "wren"), **(findings | changes))


class Reader(HTMLParser):
    """Tags with their attributes, and the text."""

    def __init__(self, text: str):
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br", "input"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


def test_the_page_is_whole_and_names_are_text(tmp_path):
    text = review_page.write(found(), tmp_path / "new").read_text(encoding="utf-8")
    reader = Reader(text)
    assert reader.open == [] and "<script>alert" not in text
    assert [tag for tag, _ in reader.tags].count("script") == 1
    fields = [attributes["data-image"] for tag, attributes in reader.tags if tag == "fieldset"]
    assert fields == [f"train/{EVIL}.png", "train/b.png", "train/c.png", "train/d.png", "new/f.png"]
    links = [attributes.get(key) for _, attributes in reader.tags for key in ("src", "href")]
    assert all(link is None or link.startswith("data:image/jpeg;base64,") for link in links)
    assert "By others." in reader.text and "99 % like test/e.png" in reader.text
    radios = [attributes for tag, attributes in reader.tags if tag == "input" and attributes.get("type") == "radio"]
    assert {each["data-label"] for each in radios if each["name"] == "label-0"} == {EVIL, "wren", ""}
    assert [attributes["value"] for tag, attributes in reader.tags if tag == "option"] == [EVIL, "thrush", "wren"]
    assert len([tag for tag, _ in reader.tags if tag == "form"]) == 2


def test_the_table_has_all_findings_and_the_page_the_first(tmp_path):
    file = review_page.write(found(uncertain=[]), tmp_path, top=2)
    rows = list(csv.DictReader((tmp_path / "review.csv").read_text(encoding="utf-8").splitlines()))
    assert [row["kind"] for row in rows] == ["label", "label", "label", "copy"]
    assert rows[0]["image"] == f"train/{EVIL}.png" and rows[0]["suggested"] == "wren"
    assert float(rows[3]["score"]) == pytest.approx(0.99) and rows[3]["where"] == "test"
    text = file.read_text(encoding="utf-8")
    assert "train/b.png" in text and "train/c.png" not in text
    assert "3 training images are confidently" in text and "labels.csv" not in text


def test_an_image_that_has_gone_leaves_a_decision_without_a_picture(tmp_path):
    def gone() -> np.ndarray:
        raise UserError("a.png cannot be read.")

    review = found(suspected=[Finding("a.png", "wren", "thrush", 0.1, pictures=(gone,))], copies=[], uncertain=[])
    text = review_page.write(review, tmp_path).read_text(encoding="utf-8")
    assert 'data-image="a.png"' in text and "<img" not in text


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"file.*--output"):
        review_page.write(found(), tmp_path / "file")


def _browser():
    api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    chromium = next(
        (path for path in map(Path, ("/usr/bin/chromium", "/usr/bin/google-chrome")) if path.exists()), None
    )
    return api.sync_playwright, None if chromium is None else str(chromium)


@pytest.mark.slow
def test_decisions_by_the_keyboard_in_a_browser(tmp_path):
    start, chromium = _browser()
    file = review_page.write(found(), tmp_path)
    with start() as playwright:
        try:
            browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        except Exception as error:  # playwright's own, of many kinds
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        page = browser.new_page(accept_downloads=True)
        problems: list[str] = []
        page.on("pageerror", lambda error: problems.append(str(error)))
        page.on("dialog", lambda dialog: problems.append(dialog.message))
        page.goto(f"file://{file}")

        def status() -> str:
            return page.locator("output").first.inner_text()

        button = page.get_by_role("button", name="Save corrections.csv")
        button.focus()
        page.keyboard.press("Enter")
        assert "Nothing is decided yet" in status()
        page.locator("fieldset").nth(0).locator("input[type=radio]").first.focus()
        page.keyboard.press("Space")  # right
        page.keyboard.press("Tab")  # the class by name
        page.keyboard.press("Tab")  # the next image
        page.keyboard.press("Space")
        page.keyboard.press("ArrowDown")  # wrong: it is thrush
        page.locator("fieldset").nth(2).locator("input[list]").focus()
        page.keyboard.type("ren")
        button.focus()
        page.keyboard.press("Enter")
        assert "There is no class 'ren'" in status()
        assert page.evaluate("document.activeElement.matches('input[list]')")
        page.keyboard.press("Home")
        page.keyboard.type("w")
        page.locator("fieldset").nth(3).locator("input[value=drop]").focus()
        page.keyboard.press("Space")
        button.focus()
        with page.expect_download() as download:
            page.keyboard.press("Enter")
        rows = list(csv.reader(Path(download.value.path()).read_text(encoding="utf-8").splitlines()))
        assert download.value.suggested_filename == "corrections.csv"
        assert "decisions about 4 images" in status() and problems == []
        browser.close()
    assert rows == [
        ["image", "label"], [f"train/{EVIL}.png", EVIL], ["train/b.png", "thrush"], ["train/c.png", "wren"],
        ["train/d.png", ""],
    ]  # fmt: skip
    assert not re.search(r"https?://", file.read_text(encoding="utf-8").replace("http://www.w3.org", ""))
