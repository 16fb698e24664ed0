"""Properties of the hash that hold for every identity."""

import json
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from kubectl_chrek.api.identity import FRAMEWORKS, Identity, parse_identity
from kubectl_chrek.ops.documents import Document, parse_documents
from kubectl_chrek.ops.hashing import hash_text

TEXT = st.text(st.characters(codec="utf-8"), max_size=20)
COUNT = st.integers(0, 2**31 - 1)
IDENTITIES = st.builds(
    Identity,
    model=TEXT.filter(bool),
    framework=st.sampled_from(FRAMEWORKS),
    dynamo_version=TEXT,
    tensor_parallel_size=COUNT,
    pipeline_parallel_size=COUNT,
    dtype=TEXT,
    max_model_len=COUNT,
    extra_parameters=st.dictionaries(TEXT, TEXT, max_size=4),
)
SHORT = {"\b": "b", "\f": "f", "\n": "n", "\r": "r", "\t": "t", '"': '"', "\\": "\\"}


def go_string(text):
    """A string as Go's encoder writes it, character by character."""
    written = ""
    for char in text:
        if char in SHORT:
            written += "\\" + SHORT[char]
        elif char < " " or char in "<>&\u2028\u2029":
            written += f"\\u{ord(char):04x}"
        else:
            written += char
    return f'"{written}"'


def go_identity(identity):
    """The preimage, written without a JSON library."""
    fields = [f'"model":{go_string(identity.model)}', f'"backendFramework":{go_string(identity.framework)}']
    if identity.dynamo_version:
        fields.append(f'"dynamoVersion":{go_string(identity.dynamo_version)}')
    fields.append(f'"tensorParallelSize":{identity.tensor_parallel_size or 1}')
    fields.append(f'"pipelineParallelSize":{identity.pipeline_parallel_size or 1}')
    if identity.dtype:
        fields.append(f'"dtype":{go_string(identity.dtype)}')
    if identity.max_model_len:
        fields.append(f'"maxModelLen":{identity.max_model_len}')
    if identity.extra_parameters:
        pairs = sorted(identity.extra_parameters.items(), key=lambda pair: pair[0].encode())
        fields.append('"extraParameters":{' + ",".join(f"{go_string(key)}:{go_string(value)}" for key, value in pairs) + "}")
    return "{" + ",".join(fields) + "}"


@given(IDENTITIES)
def test_the_preimage_is_gos(identity):
    assert identity.canonical() == go_identity(identity)


@given(IDENTITIES)
def test_the_order_of_extras_is_irrelevant(identity):
    backwards = dict(reversed(identity.extra_parameters.items()))
    assert replace(identity, extra_parameters=backwards).hash == identity.hash


@given(IDENTITIES)
def test_unset_sizes_are_one(identity):
    for field in ("tensor_parallel_size", "pipeline_parallel_size"):
        assert replace(identity, **{field: 0}).hash == replace(identity, **{field: 1}).hash


@given(IDENTITIES, IDENTITIES)
def test_every_field_changes_the_hash(identity, other):
    for field in Identity.__slots__:
        changed = replace(identity, **{field: getattr(other, field)})
        sizes = field.endswith("parallel_size") and {getattr(identity, field), getattr(other, field)} == {0, 1}
        same = getattr(identity, field) == getattr(other, field) or sizes
        assert (changed.hash == identity.hash) == same


@given(IDENTITIES)
def test_a_spec_reads_back_as_the_same_identity(identity):
    assert parse_identity(identity.to_spec()).hash == identity.hash


@given(st.lists(IDENTITIES, min_size=1, max_size=5), st.booleans())
def test_json_lines_keep_every_string(identities, ascii_only):
    text = "\n".join(json.dumps(identity.to_spec(), ensure_ascii=ascii_only) for identity in identities)
    assert [found.hash for found in hash_text(text, "lines")] == [identity.hash for identity in identities]


@given(TEXT, TEXT)
def test_reading_documents_never_fails_in_an_unknown_way(text, more):
    for found in parse_documents(f"{text}\n---\n{more}", "noise"):
        assert isinstance(found, Document) or str(found).startswith("noise: ")
