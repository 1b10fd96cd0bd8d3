"""The arrays of a TorchScript archive, such as OpenAI published CLIP in, without running the code that it holds.

`torch.jit.load` compiles and may run what the archive brings along, and torch's weights-only loader does not read such
archives. Yet the arrays lie plainly in the zip file: `data.pkl` is a pickle of the modules' attributes, and `data/0`,
`data/1`, … are the bytes. The unpickler here knows five names that build arrays and containers, makes a bare container
of every module, and refuses all else; neither torch nor the archive's code takes part.
"""

import collections
import functools
import pickle
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import ml_dtypes
import numpy as np

from lift_jax.errors import UserError
from lift_jax.text import printable
from lift_jax.weights import misplaced
from lift_jax.weights.arrays import Stored

_DTYPES = {
    "FloatStorage": np.float32,
    "DoubleStorage": np.float64,
    "HalfStorage": np.float16,
    "BFloat16Storage": ml_dtypes.bfloat16,
    "LongStorage": np.int64,
    "IntStorage": np.int32,
    "ShortStorage": np.int16,
    "CharStorage": np.int8,
    "ByteStorage": np.uint8,
    "BoolStorage": np.bool_,
}


def is_archive(file: Path) -> bool:
    """Tells whether a file is a TorchScript archive: a zip file with code."""
    try:
        with zipfile.ZipFile(file) as archive:
            return any("/code/" in name for name in archive.namelist())
    except Exception:  # no zip file, or a damaged one, which makes zipfile raise anything; torch has its say then
        return False


def arrays(file: Path) -> dict[str, Stored]:
    """Returns the parameters and buffers of the archive's module, by the names of its state dict.

    Raises:
        UserError: if the file is damaged or its pickle names anything but modules and arrays.
    """
    return read(file).arrays


class Archive(NamedTuple):
    """What is read of a TorchScript archive.

    Attributes:
        arrays: the parameters and buffers, by the names of the module's state dict.
        classes: the names of the modules' classes, such as `QuickGELU`.
    """

    arrays: dict[str, Stored]
    classes: set[str]


def read(file: Path) -> Archive:
    """Reads the arrays of an archive, and of which kinds its modules are.

    Raises:
        UserError: if the file is damaged or its pickle names anything but modules and arrays.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            pickled = next(name for name in archive.namelist() if name.count("/") == 1 and name.endswith("/data.pkl"))
            root = pickled.removesuffix("data.pkl")
            with archive.open(pickled) as stream:
                unpickler = _Unpickler(stream, file, root)
                module = unpickler.load()
        return Archive(dict(_walk(module, "")), unpickler.classes)
    except UserError:
        raise
    except Exception as error:  # damaged bytes make zipfile and pickle raise anything
        raise misplaced.damaged(file, error) from error


class _Module:
    """A module of the archive, of which no more than its attributes is kept."""

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.attributes = dict(state)


class _Storage(NamedTuple):
    file: Path
    name: str
    dtype: np.typing.DTypeLike


class _Unpickler(pickle.Unpickler):
    def __init__(self, stream: Any, file: Path, root: str):
        super().__init__(stream)
        self._file, self._root = file, root
        self.classes: set[str] = set()

    def find_class(self, module: str, name: str) -> Any:
        if module == "__torch__" or module.startswith("__torch__."):
            self.classes.add(name)
            return _Module
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _tensor
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if module == "torch" and name in _DTYPES:
            return _DTYPES[name]
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return list
        raise UserError(
            f"{self._file} is refused, because it names {printable(f'{module}.{name}')}, which has no place in a "
            "model's weights and could run code on this machine; take the model's safetensors instead."
        )

    def persistent_load(self, pid: Any) -> _Storage:
        _, dtype, key, *_ = pid
        return _Storage(self._file, f"{self._root}data/{key}", dtype)


def _tensor(storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Stored:
    return Stored(tuple(shape), functools.partial(_load, storage, offset, tuple(shape), tuple(stride)))


def _load(storage: _Storage, offset: int, shape: tuple[int, ...], stride: tuple[int, ...]) -> np.ndarray:
    try:
        with zipfile.ZipFile(storage.file) as archive:
            flat = np.frombuffer(archive.read(storage.name), storage.dtype)[offset:]
        last = sum((n - 1) * step for n, step in zip(shape, stride, strict=True))
        if min(stride, default=0) < 0 or offset < 0 or (0 not in shape and not 0 <= last < len(flat)):
            raise ValueError("an array does not fit its bytes")
        strides = [step * flat.itemsize for step in stride]
        strided = np.lib.stride_tricks.as_strided(flat, shape, strides, writeable=False)
        return np.ascontiguousarray(strided).reshape(shape)
    except Exception as error:  # as in `read`
        raise misplaced.damaged(storage.file, error) from error


def _walk(module: Any, prefix: str) -> Any:
    for name, value in getattr(module, "attributes", {}).items():
        if isinstance(value, Stored):
            yield prefix + name, value
        elif isinstance(value, _Module):
            yield from _walk(value, f"{prefix}{name}.")
