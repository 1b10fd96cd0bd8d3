"""How the pages of this folder become a site: `pip install '.[docs]'`, then `sphinx-build -W docs site`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

import lift_jax

project = "lift_jax"
author = "the lift_jax developers"
release = lift_jax.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["own_images.ipynb"]
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
