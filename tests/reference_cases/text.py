"""kind = text: tokens, text features, the starts of the head, and zero-shot logits."""

import jax.numpy as jnp
import numpy as np

from lift_jax.classifier import text_features
from lift_jax.training import image_starts
from reference_cases import models
from reference_cases.case import Case, assert_close

TOLERANCE = 2e-5


def check(case: Case) -> None:
    backbone = models.load(case.root / case.option("model"))
    names = [name.replace("_", " ") for name in case.option("class_names")]
    prompts = [[case.option("template").format(name)] for name in names]
    ensemble = [[template.format(name) for template in case.option("ensemble_templates")] for name in names]
    assert backbone.tokenizer is not None
    np.testing.assert_array_equal(backbone.tokenizer([prompt for (prompt,) in prompts]), case.array("tokens"))
    assert_close(
        text_features.text_features(backbone, prompts), case.array("text_features"), TOLERANCE, "text_features"
    )
    for name, group in (("head_init_text", prompts), ("head_init_ensemble", ensemble)):
        assert_close(text_features.text_kernel(backbone, group).T, case.array(name), TOLERANCE, name)

    features = models.features(backbone, case.array("images"))
    assert_close(features, case.array("features"), TOLERANCE, "features")
    expected = case.array("head_init_class_mean")
    means = image_starts.class_mean_kernel(np.asarray(features), case.array("labels"), len(expected))
    assert_close(means.T, expected, TOLERANCE, "head_init_class_mean")

    head, arrays = text_features.zero_shot_head(backbone, prompts)
    logits = head.apply({"params": arrays}, jnp.asarray(features))
    assert_close(logits, case.array("zero_shot_logits"), TOLERANCE, "zero_shot_logits")
