"""One case, and the folder that it is found in."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


class Case:
    """A case that knows which of its options and arrays a check has looked at.

    A check asks for all that it understands; what is left over afterwards (`unused`) is something it does not know.
    """

    def __init__(self, spec: dict[str, Any], arrays: dict[str, np.ndarray], root: Path):
        self.root = root
        self._spec, self._arrays = spec, arrays
        self._used = {"kind"}

    def option(self, name: str, *default: Any) -> Any:
        """The option of that name; with a second argument, that one where it is absent."""
        self._used.add(name)
        return self._spec.get(name, *default) if default else self._spec[name]

    def options(self) -> dict[str, Any]:
        """All options at once."""
        self._used.update(self._spec)
        return self._spec

    def array(self, name: str) -> np.ndarray:
        self._used.add(name)
        return self._arrays[name]

    def group(self, prefix: str) -> dict[str, np.ndarray]:
        """The arrays `prefix/KEY`, by KEY."""
        return {
            name.removeprefix(f"{prefix}/"): self.array(name) for name in self._arrays if name.startswith(f"{prefix}/")
        }

    def __contains__(self, name: str) -> bool:
        return name in self._spec or name in self._arrays

    def unused(self) -> set[str]:
        return {*self._spec, *self._arrays} - self._used


def find(root: Path) -> dict[str, str]:
    """Path below `root` to kind, for all cases in a folder. Folders of models are left out."""
    return {str(file.relative_to(root)): kind_of(json.loads(file.read_text())) for file in sorted(_files(root))}


def _files(folder: Path) -> Iterator[Path]:
    if (folder / "config.json").exists():
        return
    for path in folder.iterdir():
        if path.is_dir():
            yield from _files(path)
        elif path.suffix == ".json":
            yield path


def kind_of(spec: dict[str, Any]) -> str:
    """The kind that a case names; a plain mapping from prompts to lists of numbers is of the kind "tokens"."""
    if "kind" not in spec and all(isinstance(ids, list) for ids in spec.values()):
        return "tokens"
    return spec.get("kind", "no kind")


def read(root: Path, name: str) -> Case:
    file = root / name
    spec = json.loads(file.read_text())
    arrays = file.with_suffix(".npz")
    return Case(spec, dict(np.load(arrays)) if arrays.exists() else {}, root)


def assert_close(actual: Any, expected: Any, tolerance: float, name: str, noise: float = 1e-9) -> None:
    """Equal within `tolerance` times the largest magnitude of the expected array, plus `noise`."""
    actual, expected = np.asarray(actual, np.float64), np.asarray(expected, np.float64)
    assert actual.shape == expected.shape, f"{name}: {actual.shape} instead of {expected.shape}"
    largest = np.abs(expected).max(initial=0.0)
    np.testing.assert_allclose(actual, expected, rtol=0, atol=tolerance * largest + noise, err_msg=name)
