"""CLIP as a classifier whose class vectors come from the text tower at every step, so that this can be tuned, too."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from lift_jax.models.clip import normalize
from lift_jax.models.heads import Classifier, Head, product
from lift_jax.models.sites import TextTuners
from lift_jax.models.text import TextTransformer

TEXT = "text"
"""The name of a `TextHead` among a classifier's parameters; those of other heads are trained as a whole."""

_TEXTS_AT_A_TIME = 256


class TextHead(Head, kw_only=True):
    """scale * cos(x P, t_c Q), t_c being the text tower's feature of class c, and P and Q CLIP's projections.

    Its parameters are `tower`, `tokens` (the classes' texts, classes x length), `visual_projection` where the image
    features are not in the shared space, with `visual_projection_bias` in some, `text_projection`, for SigLIP
    `text_projection_bias`, and those of the tuners.
    All but the tuners' come from the backbone. Where there is `features` (classes x text width), these are the t_c, and
    the tower does not run.

    Attributes:
        tower: the text tower, with the tuners of its blocks.
        tuners: what acts outside of the blocks.
    """

    tower: TextTransformer
    tuners: TextTuners = nn.FrozenDict()  # pyright: ignore[reportAssignmentType]

    def setup(self):
        # Flax names them tuner_NAME.
        self.tuner = {name: make() for name, make in self.tuners.items()}

    def encode(self, tokens: Int[Array, "n l"]) -> Float[Array, "n d"]:
        """Texts to unprojected features."""

        def embedded(x: Array) -> Array:
            for tuner in self.tuner.values():
                x = tuner.embeddings(x)
            return x

        return self.tower(tokens, embedded)

    def __call__(self, x: Float[Array, "b d"]) -> Float[Array, "b c"]:
        text = self._own("features") if self._has("features") else self.encode(self._own("tokens"))
        text = product(text.astype(jnp.float32), self._own("text_projection"))
        if self._has("text_projection_bias"):
            text = text + self._own("text_projection_bias")
        image = x.astype(jnp.float32)
        if self._has("visual_projection"):
            image = product(image, self._own("visual_projection"))
        if self._has("visual_projection_bias"):
            image = image + self._own("visual_projection_bias")
        for tuner in self.tuner.values():
            image, text = tuner.shared("image", image), tuner.shared("text", text)
        return self.scale * product(normalize(image), normalize(text).T)

    def _has(self, name: str) -> bool:
        return self.has_variable("params", name)

    def _own(self, name: str) -> Any:
        return nn.meta.unbox(self.get_variable("params", name))


def with_features(classifier: Classifier, params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the parameters for use without further training: the text tower has run, and is left out.

    Args:
        classifier: with any head; if it is no `TextHead`, nothing changes.
        params: of the classifier.
    """
    head, own = classifier.head, params.get(TEXT)
    if not isinstance(head, TextHead) or own is None or "features" in own:
        return dict(params)

    @jax.jit
    def encode(own: Mapping[str, Any]) -> Any:
        def one(tokens: Int[Array, " l"]) -> Any:
            features: Any = head.apply({"params": own}, tokens[None], method="encode")
            return features[0]

        return jax.lax.map(one, own["tokens"], batch_size=_TEXTS_AT_A_TIME)

    rest = {name: tree for name, tree in own.items() if name not in ("tower", "tokens")}
    return {**params, TEXT: {**rest, "features": encode(own)}}
