"""How a model's files want pixels normalised, as a mean and a standard deviation of pixels from 0 to 1."""

import math

from lift_jax.errors import UserError
from lift_jax.weights.layout import Channels
from lift_jax.weights.settings import Settings, shown

_SMALLEST_STD = 0.002
"""Photographs have about 0.25, and pixels that are not normalised but from 0 to 255 ask for 1 / 255."""

_SMALLEST_FACTOR = 1 / 256
"""A smaller factor would make the pixels darker than any model's."""

_SWITCHES = dict(do_rescale=True, rescale_factor=1 / 255, do_normalize=True, do_flip_channel_order=False)


def of_processor(settings: Settings, mean: Channels, std: Channels) -> tuple[Channels, Channels]:
    """Returns the normalisation of a preprocessor_config.json of transformers.

    There a pixel x from 0 to 255 becomes (rescale_factor x - image_mean) / image_std, and each of the two steps can be
    switched off. As rescale_factor x = s (x / 255) with s = 255 rescale_factor, that is (x / 255 - mean) / std with
    mean = image_mean / s and std = image_std / s.

    Args:
        settings: the content of the file.
        mean, std: the values of keys that it leaves out.

    Raises:
        UserError: if a value is of another kind, or there are no such images.
    """
    settings = Settings(_without_nulls(settings), settings.place, _SWITCHES)
    if settings.flag("do_flip_channel_order"):
        raise UserError(
            f"do_flip_channel_order in {settings.place} is true, so the model wants blue before red, which is not "
            "known here; take a model that wants red, green, blue."
        )
    factor = settings.number("rescale_factor", _SMALLEST_FACTOR, 1) if settings.flag("do_rescale") else 1.0
    scale = 1.0 if math.isclose(255 * factor, 1, rel_tol=1e-6) else 255 * factor
    if not settings.flag("do_normalize"):
        return (0.0, 0.0, 0.0), (1 / scale, 1 / scale, 1 / scale)
    return of_keys(settings, "image_mean", "image_std", mean, std, scale)


def of_keys(
    settings: Settings, mean_key: str, std_key: str, mean: Channels | None, std: Channels | None, scale: float = 1.0
) -> tuple[Channels, Channels]:
    """Returns the mean and the standard deviation that two keys give.

    Args:
        settings: a section of a configuration file.
        mean_key, std_key: the keys.
        mean, std: their values where they are absent or null; None if that is a mistake.
        scale: the values in the file are for pixels from 0 to `scale`.

    Raises:
        UserError: if a value is no list of three numbers, or none that pixels have.
    """
    mean = _channels(settings, mean_key, mean, scale, 0)
    return mean, _channels(settings, std_key, std, scale, _SMALLEST_STD)


def _channels(settings: Settings, key: str, default: Channels | None, scale: float, low: float) -> Channels:
    given = default if default and settings.get(key) is None else settings.numbers(key, 3)
    red, green, blue = given if scale == 1 else (value / scale for value in given)
    if not all(low <= value <= 1 / (255 * _SMALLEST_FACTOR) for value in (red, green, blue)):
        switches = ", or do_rescale and rescale_factor" if key.startswith("image_") else ""
        raise UserError(
            f"{key} in {settings.place} is {shown(list(given))}, but for pixels from 0 to {scale:g} it has to lie "
            f"between {low * scale:g} and {scale:g}; correct it{switches}."
        )
    return red, green, blue


def _without_nulls(settings: Settings) -> dict:
    return {key: value for key, value in settings.items() if value is not None}
