"""Compilation of kernels, with machine code kept in numba's cache wherever it can be kept."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
from numba.core import caching

_config: Any = numba.config
#: Sums may be taken in another order, products and sums contracted; infinities stay what they are.
_OPTIONS: Any = {
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract", "nsz", "arcp"},
}


def _digest_of_sources() -> str:
    """Of all modules that have kernels: a kernel's code holds that of kernels in other files."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.parent.rglob("*.py")):
        text = path.read_bytes()
        if b"\n@kernel\n" in text or b"\n@intrinsic\n" in text:
            digest.update(text)
    return digest.hexdigest()


_SOURCES = _digest_of_sources()


def kernel(function: Callable[..., Any], *, inlined: bool = False) -> Any:
    """Compiles a function to machine code that runs without the interpreter's lock.

    The code is cached where numba finds a directory it may write; a directory that NUMBA_CACHE_DIR
    names and that may only be read (one built with an image, for all users) is read; where there is
    neither, the code lives as long as the process. A change of any module that has kernels makes
    what is cached stale.

    Args:
        inlined: its code becomes part of the kernels that call it: a call that hands on records of
            many arrays takes longer than what is done to a small state.
    """
    compiled: Any
    options = {**_OPTIONS, "forceinline": inlined}
    try:
        compiled = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # numba found no directory that it may write
        compiled = numba.njit(**options)(function)
    if _SharedLocator(function).is_read_only():
        compiled._cache = _shared_cache(function)
    if hasattr(compiled._cache, "_cache_file"):
        compiled._cache._cache_file._source_stamp = _SOURCES
    return compiled


class _SharedLocator(caching._SourceFileBackedLocatorMixin, caching._CacheLocator):
    """The directory under NUMBA_CACHE_DIR, to be read: numba passes over what it cannot write."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._py_file: str = function.__code__.co_filename
        self._lineno: int = function.__code__.co_firstlineno
        subpath: Callable[[str], str] = self.get_suitable_cache_subpath
        self._path = os.path.join(_config.CACHE_DIR, subpath(self._py_file))

    def get_cache_path(self) -> str:
        return self._path

    def is_read_only(self) -> bool:
        return (
            bool(_config.CACHE_DIR)
            and os.access(self._path, os.R_OK | os.X_OK)
            and not os.access(self._path, os.W_OK)
        )

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _SharedLocator:
        return cls(py_func)


class _SharedImplementation(caching.CompileResultCacheImpl):
    _locator_classes: Any = (_SharedLocator,)


class _SharedCache(caching.FunctionCache):
    """A function's cache that is read and never written."""

    _impl_class = _SharedImplementation

    def save_overload(self, sig: Any, data: Any) -> None:
        pass


_shared_cache: Any = _SharedCache
