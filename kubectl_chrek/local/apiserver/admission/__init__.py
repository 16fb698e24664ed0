"""Admission webhooks: which are called for a write, how, and what their answers make of it."""

from kubectl_chrek.local.apiserver.admission.chain import Admission

__all__ = ["Admission"]
