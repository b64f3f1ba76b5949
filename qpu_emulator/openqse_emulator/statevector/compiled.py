"""Compilation of kernels, with machine code kept in numba's cache wherever it can be kept."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from numba import config, njit
from numba.core import caching

#: Every kernel of this package, by name.
KERNELS: dict[str, Any] = {}


def kernel(function: Callable[..., Any]) -> Any:
    """Compiles a function to machine code that runs without the interpreter's lock.

    The code is cached where numba finds a directory it may write; a directory that NUMBA_CACHE_DIR
    names and that may only be read (one built with an image, for all users) is read; where there is
    neither, the code lives as long as the process.
    """
    try:
        compiled = njit(nogil=True, cache=True)(function)
    except RuntimeError:  # numba found no directory that it may write
        compiled = njit(nogil=True)(function)
    shared = _SharedLocator(function.__code__)
    if shared.is_read_only():
        compiled._cache = _SharedCache(function)
    KERNELS[function.__name__] = compiled
    return compiled


class _SharedLocator(caching._SourceFileBackedLocatorMixin, caching._CacheLocator):  # type: ignore[misc]
    """The directory under NUMBA_CACHE_DIR, to be read: numba itself passes over what it cannot write."""

    def __init__(self, code: Any) -> None:
        self._py_file = code.co_filename
        self._lineno = code.co_firstlineno
        subpath = self.get_suitable_cache_subpath(self._py_file)
        self._path = os.path.join(config.CACHE_DIR, subpath)

    def get_cache_path(self) -> str:
        return self._path

    def is_read_only(self) -> bool:
        return (
            bool(config.CACHE_DIR)
            and os.access(self._path, os.R_OK | os.X_OK)
            and not os.access(self._path, os.W_OK)
        )

    @classmethod
    def from_function(cls, py_func: Callable[..., Any], py_file: str) -> _SharedLocator:
        return cls(py_func.__code__)


class _SharedImplementation(caching.CompileResultCacheImpl):  # type: ignore[misc]
    _locator_classes = (_SharedLocator,)


class _SharedCache(caching.FunctionCache):  # type: ignore[misc]
    """A function's cache that is read and never written."""

    _impl_class = _SharedImplementation

    def save_overload(self, sig: Any, data: Any) -> None:
        pass
