"""The head of the methods that tune CLIP's text side, made from the backbone and the class names."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import ml_collections
import numpy as np
from jaxtyping import Int

from lift_jax.classifier import text_features
from lift_jax.data import prompts
from lift_jax.errors import UserError
from lift_jax.models.heads import Classifier
from lift_jax.models.text_head import TEXT, TextHead, with_features
from lift_jax.tuners.tuning import TextTuning
from lift_jax.weights import Backbone

_NAME_TOKENS = 8
"""Room for a class name beside a learnt context."""


def make(
    config: ml_collections.FrozenConfigDict, backbone: Backbone, tuning: TextTuning, class_names: Sequence[str]
) -> tuple[TextHead, dict[str, Any]]:
    """Makes the head, and gives those of its parameters that are there already.

    Args:
        config: resolved; its dtype is the tower's.
        backbone: with a text tower.
        tuning: what the method does to the text side.
        class_names: in label order.

    Raises:
        UserError: if the prompt gives several texts a class, or the context does not fit the text tower.
    """
    assert backbone.text is not None, "lift_jax.tuners.build has seen to it"
    # All classes at every step: what their texts leave behind for the backward pass would take most of the memory.
    tower = backbone.text.clone(dtype=jnp.dtype(config.dtype), remat="full", tuners=tuning.tower)
    scale = float(np.exp(backbone.params["logit_scale"]))
    # Frozen, so that the head can be hashed.
    outside = nn.FrozenDict(tuning.head)
    head = TextHead(len(class_names), scale, tower=tower, tuners=outside, name=TEXT)
    params = {
        name: backbone.params[name]
        for name in ("visual_projection", "visual_projection_bias", "text_projection", "text_projection_bias")
        if name in backbone.params
    }
    params |= {"tower": backbone.params["text"], "tokens": _tokens(config, backbone, tuning, class_names)}
    if not tuning.trains_tower:  # once is enough
        plain = Classifier(backbone.vision, head.clone(tower=backbone.text, tuners={}))
        params = with_features(plain, {TEXT: params})[TEXT]
    return head, {TEXT: params}


def _tokens(
    config: ml_collections.FrozenConfigDict, backbone: Backbone, tuning: TextTuning, class_names: Sequence[str]
) -> Int[np.ndarray, "c l"]:
    context = tuning.context
    template = "X " * context + "{}." if context else config.prompt
    groups = prompts.build(class_names, template)
    if any(len(group) > 1 for group in groups):
        raise UserError(
            f"config.prompt is {config.prompt!r}, which gives a class several texts, but config.method is "
            f"{config.method!r}, whose text tower reads one of each class at every step; write one template."
        )
    tokens = text_features.tokenize(backbone, [group[0] for group in groups])
    if context:
        assert backbone.text is not None and backbone.tokenizer is not None
        if not backbone.text.causal:
            raise UserError(
                f"config.method is {config.method!r}, but the backbone {backbone.name} is no CLIP: its texts have no "
                "start token after which a learnt context could stand; leave coop out."
            )
        most = backbone.tokenizer.context_length - _NAME_TOKENS
        if context > most:
            raise UserError(
                f"config.tuner.context_len is {context}, but the text tower has {backbone.tokenizer.context_length} "
                f"positions for it and the class name; write at most {most}."
            )
    return tokens
