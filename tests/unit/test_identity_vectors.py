"""The hash, against what the Dynamo operator computes."""

import hashlib

import pytest

from kubectl_chrek.api.errors import IdentityError
from kubectl_chrek.api.identity import parse_identity

LLAMA3 = {"model": "meta-llama/Llama-3-8B", "backendFramework": "vllm", "tensorParallelSize": 1}
VECTORS = [
    ("96429b2725761a09", {"model": "meta-llama/Llama-2-7b-hf", "backendFramework": "vllm"}),
    (
        "f4ba65bccbb8e4fb",
        {
            "model": "meta-llama/Llama-2-13b-hf",
            "backendFramework": "sglang",
            "dynamoVersion": "0.4.2",
            "tensorParallelSize": 2,
            "pipelineParallelSize": 1,
            "dtype": "float16",
            "maxModelLen": 4096,
            "extraParameters": {"gpu_memory_utilization": "0.9"},
        },
    ),
    ("5941a4cb3c363457", LLAMA3 | {"dtype": "bfloat16"}),
    ("4a5f6cbea582b088", LLAMA3),
    (
        "a6fcc8309a7466a8",
        LLAMA3
        | {
            "dynamoVersion": "0.9.0",
            "pipelineParallelSize": 1,
            "dtype": "bfloat16",
            "maxModelLen": 8192,
            "extraParameters": {"enableChunkedPrefill": "true", "quantization": "awq"},
        },
    ),
    ("1f355de0401db0be", LLAMA3 | {"model": "meta-llama/Meta-Llama-3-8B-Instruct", "dtype": "bfloat16"}),
    ("73e74442beb109ed", {"model": "Qwen/Qwen3-0.6B", "backendFramework": "vllm"}),
    (
        "3bff874d069f0ed5",
        {
            "model": "Qwen/Qwen3-0.6B",
            "backendFramework": "vllm",
            "tensorParallelSize": 1,
            "dtype": "bfloat16",
            "maxModelLen": 4096,
        },
    ),
    (
        "3fe3c7e8c777da58",
        {"model": "a/b<c>&d", "backendFramework": "vllm", "extraParameters": {"z": "é", "a": "\u2028"}},
    ),
]


@pytest.mark.parametrize(("expected", "spec"), VECTORS)
def test_upstreams_vectors(expected, spec):
    assert parse_identity(spec).hash == expected


def test_the_preimage():
    canonical = parse_identity(LLAMA3 | {"dtype": "bfloat16"}).canonical()
    assert canonical == (
        '{"model":"meta-llama/Llama-3-8B","backendFramework":"vllm",'
        '"tensorParallelSize":1,"pipelineParallelSize":1,"dtype":"bfloat16"}'
    )
    assert hashlib.sha256(canonical.encode()).hexdigest().startswith("5941a4cb3c363457")


def test_keys_are_sorted_by_their_bytes_not_by_code_units():
    extra = {"\U0001f600": "", "\uffff": "", "é": "", "z": "", "Z": "", "": ""}
    canonical = parse_identity(LLAMA3 | {"extraParameters": extra}).canonical()
    order = [canonical.index(f'"{key}":""') for key in ("", "Z", "z", "é", "\uffff", "\U0001f600")]
    assert order == sorted(order)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (LLAMA3, LLAMA3 | {"tensorParallelSize": 0, "pipelineParallelSize": 0}),
        (LLAMA3, LLAMA3 | {"extraParameters": {}, "dtype": "", "dynamoVersion": "", "maxModelLen": 0}),
        (LLAMA3, LLAMA3 | {"extraParameters": None, "dtype": None, "maxModelLen": None}),
        (LLAMA3, LLAMA3 | {"framework": "vllm"}),
        (LLAMA3 | {"dynamoVersion": "1"}, LLAMA3 | {"frameworkVersion": "1"}),
    ],
)
def test_what_does_not_change_the_hash(first, second):
    assert parse_identity(first).hash == parse_identity(second).hash


def test_nothing_is_trimmed_or_folded():
    models = ["m", " m", "m ", "M", "m\n", "é", "e\u0301"]
    assert len({parse_identity(LLAMA3 | {"model": model}).hash for model in models}) == len(models)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"backendFramework": "VLLM"}, "identity.backendFramework"),
        ({"model": 3}, "identity.model"),
        ({"tensorParallelSize": "2"}, "identity.tensorParallelSize"),
        ({"maxModelLen": 2**31}, "identity.maxModelLen"),
        ({"frameworkVersion": "2", "dynamoVersion": "1"}, "identity.dynamoVersion"),
        ({"extraParameters": ["a"]}, "identity.extraParameters"),
        ({"extraParameters": {"a": None}}, "identity.extraParameters.a"),
        ({"extraParameters": {1: "a"}}, "identity.extraParameters, key 1"),
        ({"Model": "m"}, "identity.Model"),
    ],
)
def test_the_culprit_is_named(change, field):
    with pytest.raises(IdentityError) as caught:
        parse_identity(LLAMA3 | change)
    assert caught.value.field == field
