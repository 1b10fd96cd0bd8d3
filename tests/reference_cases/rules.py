"""kind = rules: automatic widths, and the images that the published CIFAR-100-LT subsets keep."""

import numpy as np

from lift_jax.data import longtail
from lift_jax.tuners import rules
from reference_cases.case import Case


def check(case: Case) -> None:
    for rule in case.option("adapter_dim"):
        assert rules.bottleneck_dim(rule["num_classes"], rule["layers"]) == rule["adapter_dim"]
    assert case.option("vpt_len_default") == rules.PROMPT_LENGTH
    targets = np.arange(50000) % 100
    for imbalance, expected in case.option("cifar100_lt_on_targets_arange_50000_mod_100").items():
        assert set(expected) == {"per_class", "total", "first", "last", "checksum"}
        kept = longtail.subset(targets, 100, float(imbalance))
        assert np.bincount(targets[kept]).tolist() == expected["per_class"]
        assert len(kept) == expected["total"]
        assert kept[:20].tolist() == expected["first"]
        assert kept[-20:].tolist() == expected["last"]
        assert (kept * np.arange(1, len(kept) + 1)).sum() % (2**31 - 1) == expected["checksum"]
