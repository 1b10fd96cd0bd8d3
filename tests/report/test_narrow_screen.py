"""The page of a comparison on a telephone: 360 pixels wide, in a real browser."""

import html
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from test_comparison import write_run

from lift_jax.report import comparison

PROBE = """<script>
const side = (cell) => {
  const place = cell.getBoundingClientRect();
  return [place.left, place.right].map(Math.round);
};
frame.onload = () => {
  const page = frame.contentDocument.documentElement, box = page.querySelector(".scroll");
  box.scrollLeft = 1e6;
  const rows = [...box.firstChild.rows].map((row) => [side(row.cells[0]), side(row.cells[row.cells.length - 1])]);
  document.title = JSON.stringify({ page: page.scrollWidth, box: side(box), table: box.scrollWidth, rows });
};
</script>"""
"""Scrolls the first table to its end, and writes what is where into the title."""


def measured(page: Path, folder: Path) -> dict:
    """Shows a page in a frame of 360 pixels, since the windows of browsers are wider."""
    frame = (
        f'<iframe id="frame" style="border: 0; width: 360px; height: 3000px" srcdoc="{html.escape(page.read_text())}">'
    )
    shown = folder / "frame.html"
    shown.write_text(f"<!doctype html><meta charset=utf-8><title></title>{frame}</iframe>{PROBE}")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'user'}", "--dump-dom"]
    done = subprocess.run(
        ["chromium", *flags, "--virtual-time-budget=20000", f"file://{shown}"],
        capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    title = re.search("<title>(.*?)</title>", done.stdout)
    assert title is not None, done.stderr
    return json.loads(html.unescape(title[1]))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="the page is looked at with Chromium")
@pytest.mark.parametrize("prompt", ["a photo of a {}, seldom seen in the forests where it lives.", f"{'x' * 200}{{}}"])
def test_a_wide_table_scrolls_in_its_box_with_its_names_in_view(tmp_path, prompt):
    for seed in range(2):
        write_run(tmp_path / "runs" / f"plain{seed}", 50.0 + seed, 1234567, seed=seed)
        write_run(tmp_path / "runs" / f"own{seed}", 50.0 + seed, 1234567, seed=seed, prompt=prompt)
    comparison.compare([tmp_path / "runs"], tmp_path / "page.html")
    found = measured(tmp_path / "page.html", tmp_path)
    left, right = found["box"]
    assert found["page"] == 360 and 0 <= left < right <= 360 < found["table"]
    for first, last in found["rows"]:
        assert first[0] == left and left + 60 < first[1] < (left + right) / 2
        assert last[1] == right and last[0] > first[1]
