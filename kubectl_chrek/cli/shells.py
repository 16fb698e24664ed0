"""Completion scripts, and the program that kubectl asks for a plugin's completions."""

import os
import shutil
import stat
import sys
from pathlib import Path
from typing import Final

from kubectl_chrek.api.errors import ChrekError
from kubectl_chrek.cli import diagnostics

PROGRAM: Final = "kubectl_complete-chrek"
_SHIM: Final = """#!/bin/sh
exec kubectl-chrek __complete "$@"
"""
_SCRIPTS: Final = {
    "bash": """_kubectl_chrek() {
    local lines directive
    mapfile -t lines < <(kubectl-chrek __complete "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null)
    directive="${lines[-1]#:}"
    unset 'lines[-1]'
    COMPREPLY=("${lines[@]%%$'\\t'*}")
    if [[ $directive == 0 ]]; then
        COMPREPLY+=($(compgen -f -- "${COMP_WORDS[COMP_CWORD]}"))
    fi
}
complete -F _kubectl_chrek kubectl-chrek
""",
    "zsh": """#compdef kubectl-chrek
_kubectl_chrek() {
    local -a lines values
    lines=("${(@f)$(kubectl-chrek __complete "${(@)words[2,CURRENT]}" 2>/dev/null)}")
    local directive="${lines[-1]#:}"
    lines[-1]=()
    values=("${(@)lines//$'\\t'/:}")
    _describe 'kubectl chrek' values
    if [[ $directive == 0 ]]; then
        _files
    fi
}
compdef _kubectl_chrek kubectl-chrek
""",
    "fish": """function __kubectl_chrek
    set -l words (commandline -opc) (commandline -ct)
    kubectl-chrek __complete $words[2..-1] 2>/dev/null | string match -v -r '^:[0-9]+$'
end
complete -c kubectl-chrek -f -a '(__kubectl_chrek)'
""",
}


def script(shell: str) -> str:
    """The completion script of a shell, for the program `kubectl-chrek`."""
    return _SCRIPTS[shell]


def install(directory: str) -> Path:
    """Writes what kubectl asks, into a directory of PATH; returns where.

    Raises:
        ChrekError: The directory cannot be written to.
    """
    path = Path(directory or _own_directory()) / PROGRAM
    try:
        path.write_text(_SHIM)
        path.chmod(path.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
    except OSError as error:
        hint = "give --dir DIR: a directory in PATH that you may write to"
        raise ChrekError(f"{path}: {(error.strerror or str(error)).lower()}", hint=hint) from error
    if str(path.parent) not in os.environ.get("PATH", "").split(os.pathsep):
        diagnostics.warn(f"{path.parent} is not in PATH: kubectl will not find it there")
    return path


def _own_directory() -> Path:
    """Where kubectl found this plugin."""
    return Path(shutil.which("kubectl-chrek") or sys.argv[0]).parent.absolute()
