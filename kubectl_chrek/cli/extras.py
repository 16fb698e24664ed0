"""Commands whose libraries are installed only on request."""

import sys
from importlib import import_module
from types import ModuleType

from kubectl_chrek.api.errors import ChrekError


def import_extra(module: str, extra: str) -> ModuleType:
    """Imports a module of ours that needs an extra.

    Raises:
        ChrekError: A library of the extra is not installed.
    """
    try:
        return import_module(module)
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing == "kubectl_chrek" and hasattr(sys, "frozen"):
            message = f"krew's package does not hold this command: run pip install 'kubectl-chrek[{extra}]'"
            raise ChrekError(message) from error
        if missing in ("", "kubectl_chrek"):
            raise
        message = f"{missing} is not installed: run pip install 'kubectl-chrek[{extra}]'"
        raise ChrekError(message) from error
