"""Requests in Kubernetes' protobuf: since 1.32, kubectl's typed commands (`create namespace`, `auth can-i`) send nothing else."""

from kubectl_chrek.local.apiserver.protobuf.decoding import MEDIA_TYPE, decode

__all__ = ["MEDIA_TYPE", "decode"]
