"""The values of a configuration file, read by kind and range: a wrong one is named with its key and its file."""

import math
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from lift_jax.errors import UserError

LARGEST = 1 << 20
"""No width, length, vocabulary or image side of a model is larger."""


_SQUARES = ("image_size", "patch_size")
"""What may be written as a pair, height and width."""


class Settings(Mapping[str, Any]):
    """One section of a configuration file.

    Attributes:
        place: what messages call the section, such as "vision_config of clip/config.json".

    Args:
        content: the section as it was parsed.
        place: see above.
        defaults: the values of keys that the section may leave out.
    """

    def __init__(self, content: Mapping[str, Any], place: str, defaults: Mapping[str, Any] | None = None):
        self._values = {**(defaults or {}), **content}
        self.place = place

    def __getitem__(self, key: str) -> Any:
        return self._values[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def section(self, key: str, defaults: Mapping[str, Any] | None = None) -> "Settings":
        """Reads a section inside this one, which is empty but for its defaults if the key is absent or null.

        Raises:
            UserError: if the value is no JSON object.
        """
        value = self.get(key)
        if not isinstance(value, Mapping | None):
            raise self._wrong(key, "a JSON object")
        return Settings(value or {}, f"{key} of {self.place}", defaults)

    def whole(self, key: str, low: int = 1, high: int = LARGEST) -> int:
        """Reads a whole number from `low` to `high`.

        Raises:
            UserError: if the value is something else.
        """
        value = self.get(key)
        if key in _SQUARES and isinstance(value, list) and len(value) == 2 and value[0] == value[1]:
            value = value[0]
        if type(value) is not int or not low <= value <= high:
            raise self._wrong(key, f"a whole number from {low} to {high}")
        return value

    def number(self, key: str, low: float = -math.inf, high: float = math.inf) -> float:
        """Reads a finite number from `low` to `high`.

        Raises:
            UserError: if the value is something else.
        """
        value = self.get(key)
        if value is None or not _is_number(value) or not low <= value <= high:
            limits = f" from {low:g} to {high:g}" if math.isfinite(low) else ""
            raise self._wrong(key, f"a finite number{limits}")
        return value

    def choice(self, key: str, choices: Collection[str]) -> str:
        """Reads one of several words.

        Raises:
            UserError: if the value is something else.
        """
        value = self.get(key)
        if not isinstance(value, str) or value not in choices:
            raise self._wrong(key, f"one of {', '.join(choices)}")
        return value

    def flag(self, key: str) -> bool:
        """Reads true or false.

        Raises:
            UserError: if the value is something else.
        """
        value = self.get(key)
        if not isinstance(value, bool):
            raise self._wrong(key, "true or false")
        return value

    def numbers(self, key: str, length: int) -> tuple[float, ...]:
        """Reads a list of finite numbers.

        Raises:
            UserError: if the value is something else, or the list is shorter or longer than `length`.
        """
        value = self.get(key)
        if not isinstance(value, list | tuple) or len(value) != length or not all(map(_is_number, value)):
            raise self._wrong(key, f"a list of {length} finite numbers")
        return tuple(value)

    def _wrong(self, key: str, kind: str) -> UserError:
        found = f"is {shown(self[key])}" if key in self else "is missing"
        return UserError(
            f"{key} in {self.place} {found}, but it has to be {kind}; correct it, or take the file from the model's "
            "source again."
        )


def shown(value: Any) -> str:
    """Shows a value as Python writes it, cut so that it fits into a sentence."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}…"


def _is_number(value: Any) -> bool:
    # A whole number may be too large for a float.
    return type(value) in (int, float) and (type(value) is int or math.isfinite(value)) and abs(value) < 1e300
