"""Every reference case, by its kind.

The cases are those of the folder in the environment variable LIFT_REFERENCE_DIR, or a copy that lies beside this file
(see reference/README.md).
"""

import pytest
from reference_cases import folder, losses, metrics, rules, text, tokens, transforms, tuner
from reference_cases.case import find, read

CHECKS = {
    "losses": losses.check,
    "metrics": metrics.check,
    "rules": rules.check,
    "text": text.check,
    "tokens": tokens.check,
    "transforms": transforms.check,
    "tuner": tuner.check,
}
ROOT = folder.root()
CASES = find(ROOT)


def test_there_are_cases():
    assert CASES, f"there is no reference case in {ROOT}"


@pytest.mark.parametrize("name", CASES)
def test_reference(name):
    kind = CASES[name]
    assert kind in CHECKS, f"the kind {kind!r} of {name} is not known"
    case = read(ROOT, name)
    CHECKS[kind](case)
    assert not case.unused(), f"of {name} nothing is done with {sorted(case.unused())}"
