"""Readable names for ImageNet's WordNet ids."""

import logging
import re
from collections.abc import Sequence

_LOGGER = logging.getLogger(__name__)


_FIRST, _LAST, _COUNT = "n01440764", "n15075141", 1000


def readable(names: Sequence[str]) -> list[str]:
    """Replaces ImageNet-1k's WordNet ids by readable names, if the package open_clip is installed.

    Other names are returned as they are. Ids that stay ids are warned about: a text tower makes nothing of them.

    Args:
        names: class names in label order.
    """
    names = list(names)
    if not names or not all(re.fullmatch(r"n\d{8}", name) for name in names):
        return names
    if len(names) == _COUNT and names == sorted(names) and (names[0], names[-1]) == (_FIRST, _LAST):
        try:
            from open_clip import IMAGENET_CLASSNAMES  # pyright: ignore[reportMissingImports]

            return list(IMAGENET_CLASSNAMES)
        except ImportError:
            pass
    _LOGGER.warning(
        "The class names are WordNet ids such as %s, which say nothing to a text tower; set config.data.class_names to "
        "a file of `wnid name` lines, or, for ImageNet's 1,000 classes, pip install open_clip_torch.", names[0],
    )  # fmt: skip
    return names
