"""What a feature is: see features.py."""

import ctypes
import os
from collections.abc import Callable, Iterator

Feature = Callable[[], Iterator[str | None]]
FEATURES: dict[str, Feature] = {}
LIBC = ctypes.CDLL(None, use_errno=True)


def feature(function: Feature) -> Feature:
    FEATURES[function.__name__] = function
    return function


def call(name: str, *arguments: object) -> int:
    result = getattr(LIBC, name)(*arguments)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"{name}: {os.strerror(ctypes.get_errno())}")
    return result
