"""How the pages of this folder become a site: `pip install '.[docs]'`, then `sphinx-build -W docs site`."""

import json
import sys
from pathlib import Path

from docutils import nodes
from myst_parser.parsers.sphinx_ import MystParser
from sphinx.application import Sphinx

sys.path.insert(0, str(Path(__file__).parents[1]))

import lift_jax

project = "lift_jax"
author = "the lift_jax developers"
release = lift_jax.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
html_theme = "furo"
html_title = project
highlight_language = "none"  # of blocks that do not tell theirs

myst_heading_anchors = 3  # links such as performance.md#runs-of-a-sweep-at-once
suppress_warnings = ["myst.xref_missing"]  # links to files of the repository, which the site has no page of

autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_default_options = {"members": True, "show-inheritance": True}
default_role = "code"  # the docstrings write code in single backticks
napoleon_use_ivar = True


class NotebookParser(MystParser):
    """Reads a Jupyter notebook, whose outputs are not kept, as the page of Markdown that its cells are."""

    supported = ("notebook",)

    def parse(self, inputstring: str, document: nodes.document) -> None:
        """Parses the text of a notebook's file into the page."""
        cells = json.loads(inputstring)["cells"]
        super().parse("\n\n".join(_markdown(cell["cell_type"], "".join(cell["source"])) for cell in cells), document)


def _markdown(kind: str, source: str) -> str:
    return f"```python\n{source}\n```" if kind == "code" else source


def setup(app: Sphinx) -> None:
    """Lets Sphinx read notebooks."""
    app.add_source_suffix(".ipynb", "notebook")
    app.add_source_parser(NotebookParser)
