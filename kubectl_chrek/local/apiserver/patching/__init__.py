"""The four kinds of patches, as functions from an object and a patch to an object."""

from kubectl_chrek.local.apiserver.patching.json import json_patch
from kubectl_chrek.local.apiserver.patching.merge import merge_patch
from kubectl_chrek.local.apiserver.patching.strategic import strategic_patch

__all__ = ["json_patch", "merge_patch", "strategic_patch"]
