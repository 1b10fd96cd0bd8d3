"""The documentation as a site, and the sentences that its page of troubles quotes."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
QUOTED = re.findall(r"^- `(.+)`$", (ROOT / "docs" / "troubleshooting.md").read_text(encoding="utf-8"), re.M)


def test_the_site_is_built_without_a_warning(tmp_path):
    pytest.importorskip("sphinx", reason="pip install '.[docs]'")
    done = subprocess.run(
        [sys.executable, "-m", "sphinx", "-W", "--keep-going", "-q", ROOT / "docs", tmp_path],
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    pages = {page.stem for kind in ("*.md", "*.ipynb") for page in (ROOT / "docs").glob(kind)}
    assert pages <= {page.stem for page in tmp_path.glob("*.html")}
    assert 'id="lift_jax.load"' in (tmp_path / "api.html").read_text(encoding="utf-8")
    notebook = (tmp_path / "own_images.html").read_text(encoding="utf-8")
    assert "<h2>The report" in notebook and '<span class="kn">import</span>' in notebook  # which is highlighted


def strings(tree: ast.AST) -> Iterator[str]:
    """The strings of a program, with … for what an f-string or a % fills in."""
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "…" for part in node.values)
            yield "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield re.sub(r"%[sd]", "…", node.value)


@pytest.fixture(scope="module")
def said() -> str:
    """All that the program can say."""
    files = sorted((ROOT / "lift_jax").rglob("*.py"))
    return "\n".join(text for file in files for text in strings(ast.parse(file.read_text(encoding="utf-8"))))


@pytest.mark.parametrize("sentence", QUOTED, ids=lambda sentence: sentence[:40])
def test_what_the_page_of_troubles_quotes_is_said(sentence, said):
    pattern = r"…+".join(map(re.escape, sentence.split("…")))
    assert re.search(pattern, said)


def test_the_check_of_quotations_finds_mistakes(said):
    assert len(QUOTED) > 15
    with pytest.raises(AssertionError):
        test_what_the_page_of_troubles_quotes_is_said("There is no folder …; name that of your pictures", said)
