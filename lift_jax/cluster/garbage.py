"""How often Python looks for unused objects that refer to each other in circles."""

import gc

_NEW_OBJECTS = 10_000
"""After so many of them Python looks; by itself it does after 700, or since 3.12 after 2,000."""


def collect_rarely() -> None:
    """Lets Python look less often.

    Imports, and JAX while it traces a program, make millions of objects, hardly any of them in circles. To look through
    them as often as Python does by itself takes a tenth of the processor's time to the first step of a small run.
    """
    gc.set_threshold(_NEW_OBJECTS, 10, 10)


def spare_present() -> None:
    """Lets Python never look again through the objects that are there now, such as those of imported modules."""
    gc.freeze()
