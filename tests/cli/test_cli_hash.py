"""`hash`: what it prints, and how it fails."""

import json

import pytest
import yaml

LLAMA = "96429b2725761a09"
QUICK_START = "5941a4cb3c363457"
IDENTITY = {"model": "meta-llama/Llama-2-7b-hf", "backendFramework": "vllm"}
CHECKPOINT = """
apiVersion: nvidia.com/v1alpha1
kind: DynamoCheckpoint
metadata: {name: e5962d34ba272638}
spec:
  identity: {model: meta-llama/Llama-3-8B, backendFramework: vllm, tensorParallelSize: 1, dtype: bfloat16}
"""
GRAPH = """
apiVersion: nvidia.com/v1alpha1
kind: DynamoGraphDeployment
metadata: {name: my-llm}
spec:
  services:
    Frontend: {replicas: 1}
    Worker:
      checkpoint: {enabled: true, mode: auto, identity: {model: meta-llama/Llama-3-8B, framework: vllm, tensorParallelSize: 1}}
    Decode:
      checkpoint: {enabled: true, identity: {model: Qwen/Qwen3-0.6B, backendFramework: vllm}}
"""


def test_flags_give_one_line(chrek):
    result = chrek("hash", "--model", "meta-llama/Llama-3-8B", "--backend-framework", "vllm", "--dtype=bfloat16")
    assert (result.code, result.out, result.err) == (0, f"{QUICK_START}  meta-llama/Llama-3-8B\n", "")


def test_all_flags(chrek):
    result = chrek(
        *("hash", "--model", "meta-llama/Llama-3-8B", "--framework", "vllm", "--dynamo-version", "0.9.0", "--dtype", "bfloat16"),
        *("--tensor-parallel-size", "1", "--pipeline-parallel-size", "0", "--max-model-len", "8192", "-o=name"),
        *("--extra", "quantization=awq", "--extra", "enableChunkedPrefill=true"),
    )
    assert (result.code, result.out) == (0, "a6fcc8309a7466a8\n")


def test_extra_splits_at_the_first_equals_sign(chrek):
    one = chrek("hash", "--model", "m", "--framework", "vllm", "--extra", "k=a=b", "-o", "json")
    assert json.loads(one.out)["identity"]["extraParameters"] == {"k": "a=b"}


def test_documents_of_all_kinds_from_stdin(chrek, stdin):
    stdin(f"{json.dumps(IDENTITY)}\n---{CHECKPOINT}---{GRAPH}---\nidentity: {json.dumps(IDENTITY)}\n".encode())
    result = chrek("hash", "-f", "-")
    assert result.out.splitlines() == [
        f"{LLAMA}  meta-llama/Llama-2-7b-hf",
        f"{QUICK_START}  dynamocheckpoint/e5962d34ba272638",
        "4a5f6cbea582b088  dynamographdeployment/my-llm/Worker",
        "73e74442beb109ed  dynamographdeployment/my-llm/Decode",
        f"{LLAMA}  meta-llama/Llama-2-7b-hf",
    ]
    assert result.code == 0
    assert result.err == (
        "warning: stdin: document 2 (line 2): dynamocheckpoint/e5962d34ba272638 is not named after its hash,"
        f" which is {QUICK_START}\n"
    )


def test_several_files_lists_and_arrays(chrek, tmp_path):
    array, items = tmp_path / "array.json", tmp_path / "list.json"
    array.write_text(json.dumps([IDENTITY, {"identity": IDENTITY}]))
    items.write_text(json.dumps({"kind": "List", "items": [yaml.safe_load(CHECKPOINT), yaml.safe_load(GRAPH)]}, indent=2))
    result = chrek("hash", "-f", str(array), "-f", str(items), "-o", "name")
    assert result.out.split() == [LLAMA, LLAMA, QUICK_START, "4a5f6cbea582b088", "73e74442beb109ed"]


@pytest.mark.parametrize(("form", "load"), [("json", json.loads), ("yaml", yaml.safe_load)])
def test_structured_output_says_what_was_hashed(chrek, stdin, form, load):
    stdin(json.dumps(IDENTITY).encode())
    found = load(chrek("hash", "-f", "-", "-o", form).out)
    assert found == {
        "hash": LLAMA,
        "identity": IDENTITY | {"tensorParallelSize": 1, "pipelineParallelSize": 1},
        "canonical": '{"model":"meta-llama/Llama-2-7b-hf","backendFramework":"vllm",'
        '"tensorParallelSize":1,"pipelineParallelSize":1}',
        "source": {"label": "meta-llama/Llama-2-7b-hf", "where": "stdin: document 1 (line 1)"},
    }
    stdin(json.dumps([IDENTITY, IDENTITY]).encode())
    assert [each["hash"] for each in load(chrek("hash", "-f", "-", "-o", form).out)] == [LLAMA, LLAMA]


def test_a_label_cannot_break_the_line(chrek, stdin):
    stdin(json.dumps({"model": "a\nb\u2028c\x1b[31m", "backendFramework": "vllm"}).encode())
    result = chrek("hash", "-f", "-")
    assert result.out.split("  ", 1)[1] == "a\\nb\\u2028c\\x1b[31m\n"


def test_unusual_strings_survive_in_yaml_and_json(chrek, stdin):
    strings = ["<a> & b", "\u2028\u2029", "\x00\x1f\x7f", "😀é", " padded ", "yes", "1.0", "2024-01-01", "null", "a: b # c"]
    identities = [{"model": text, "backendFramework": "sglang", "dtype": text, "extraParameters": {text: text}} for text in strings]
    stdin("\n".join(json.dumps(each) for each in identities).encode())
    lines = chrek("hash", "-f", "-", "-o", "name").out.split()
    stdin("\n".join(json.dumps(each, ensure_ascii=False) for each in identities).encode())
    raw = chrek("hash", "-f", "-", "-o", "name").out.split()
    stdin(yaml.safe_dump_all(identities).encode())
    documents = chrek("hash", "-f", "-", "-o", "name").out.split()
    assert len(set(lines)) == len(strings)
    assert lines == raw == documents


BAD = [
    ('{"model": "m", "backendFramework": "tgi"}', "identity.backendFramework: unknown framework 'tgi'"),
    ('{"model": "", "backendFramework": "vllm"}', "identity.model: is required and must not be empty"),
    ('{"backendFramework": "vllm"}', "identity.model: is required and must not be empty"),
    ('{"model": "m"}', "identity.backendFramework: is required and must not be empty"),
    ('{"model": "m", "backendFramework": "vllm", "tensorParallelSize": -1}', "identity.tensorParallelSize: must be between 1 and"),
    ('{"model": "m", "backendFramework": "vllm", "maxModelLen": 2147483648}', "identity.maxModelLen: must be between 1 and"),
    ('{"model": "m", "backendFramework": "vllm", "maxModelLen": 1.0}', "identity.maxModelLen: expected a whole number, got 1.0"),
    ('{"model": "m", "backendFramework": "vllm", "maxModelLen": true}', "identity.maxModelLen: expected a whole number, got True"),
    ('{"model": "m", "backendFramework": "vllm", "framework": "sglang"}', "identity.framework: differs from backendFramework"),
    ('{"model": "m", "backendFramework": "vllm", "gpu": 1}', "identity.gpu: unknown field"),
    ('{"model": "m", "backendFramework": "vllm", "extraParameters": {"a": 1}}', "extraParameters.a: expected a string, got 1"),
    ('{"model": "m\\ud800", "backendFramework": "vllm"}', "identity.model: is not valid UTF-8"),
    ('{"model": "m", "backendFramework": "vllm", "extraParameters": {"\\udc00": ""}}', "is not valid UTF-8"),
    ('{"model": "m", "model": "n", "backendFramework": "vllm"}', "key 'model' is given twice"),
    ("model: m\nmodel: n\nbackendFramework: vllm", "key 'model' is given twice"),
    ("model: m\nbackendFramework: vllm\ndynamoVersion: 1.0", "identity.dynamoVersion: expected a string, got 1.0"),
    ("model: m\nbackendFramework: vllm\ndynamoVersion: 1e5", "identity.dynamoVersion: expected a string, got 100000.0"),
    ("model: m\nbackendFramework: vllm\ndynamoVersion: 2024-01-01", "identity.dynamoVersion: expected a string, got 2024-01-01"),
    ("model: yes\nbackendFramework: vllm", "identity.model: expected a string, got True"),
    ("model: [m", "not valid YAML"),
    ('{"model": "m"', "not valid JSON"),
    ("just words", "expected a mapping of fields"),
    ("42", "expected a mapping of fields"),
    ("foo: bar", "this is no identity"),
    ("kind: ConfigMap", "kind ConfigMap has no identity"),
    ("kind: DynamoCheckpoint", "spec.identity: expected a mapping of fields"),
    ("kind: DynamoGraphDeployment\nspec: {services: {A: {}}}", "none of the graph's services has a checkpoint identity"),
    ("kind: DynamoGraphDeployment", "spec.services: expected a mapping of services"),
    ("[]", "the list is empty"),
    pytest.param("[" * 100000, "nested too deeply", id="deep-json"),
    pytest.param("- " * 100000, "nested too deeply", id="deep-yaml"),
    ("a: &a [*a]", "this is no identity"),
    ("items: &a [{items: *a}]", "expected a mapping of fields, got a list"),
]


REFERENCE = """
kind: DynamoGraphDeployment
metadata: {name: my-llm}
spec: {services: {Worker: {checkpoint: {enabled: true, checkpointRef: by-hand}}}}
"""


def test_a_reference_by_name_is_no_error_beside_identities(chrek, stdin):
    stdin(f"{json.dumps(IDENTITY)}\n---{REFERENCE}".encode())
    result = chrek("hash", "-f", "-")
    assert (result.code, result.out) == (0, f"{LLAMA}  meta-llama/Llama-2-7b-hf\n")
    assert result.err.startswith("warning: stdin: document 2 (line ")
    assert "dynamographdeployment/my-llm/Worker refers to by-hand by name" in result.err


def test_only_references_are_nothing_to_hash(chrek, stdin):
    stdin(REFERENCE.encode())
    result = chrek("hash", "-f", "-")
    assert (result.code, result.out) == (2, "")
    assert "error: there is no identity to hash" in result.err


@pytest.mark.parametrize(("text", "message"), BAD)
def test_bad_documents_are_named_and_hide_no_good_ones(chrek, stdin, text, message):
    good = f"---\n{json.dumps(IDENTITY)}\n---\n"
    stdin(f"{good}{text}\n{good}".encode())
    result = chrek("hash", "-f", "-")
    assert result.out == f"{LLAMA}  meta-llama/Llama-2-7b-hf\n" * 2
    assert result.err.startswith("error: stdin: document 2 (line ")
    assert message in result.err.splitlines()[0]
    assert result.code == 2


def test_a_bad_json_line_hides_no_good_ones(chrek, stdin):
    good = json.dumps(IDENTITY)
    stdin(f'{good}\n{{"model": "cut\n{good}\n'.encode())
    result = chrek("hash", "-f", "-", "-o", "name")
    assert (result.code, result.out) == (2, f"{LLAMA}\n{LLAMA}\n")
    assert result.err == "error: stdin: document 2 (line 2): not valid JSON: invalid control character at line 2, column 15\n"


@pytest.mark.parametrize("text", [b"", b"\n\n", b"# nothing\n---\n...\n"])
def test_empty_input(chrek, stdin, text):
    stdin(text)
    result = chrek("hash", "-f", "-")
    assert (result.code, result.out, result.err.splitlines()[0]) == (2, "", "error: stdin: no document found")


def test_unreadable_files(chrek, tmp_path):
    (tmp_path / "latin").write_bytes(b"model: caf\xe9\n")
    (tmp_path / "good").write_text(json.dumps(IDENTITY))
    paths = [str(tmp_path / "missing"), str(tmp_path), str(tmp_path / "latin"), str(tmp_path / "good")]
    result = chrek("hash", *(word for path in paths for word in ("-f", path)))
    assert (result.code, result.out) == (2, f"{LLAMA}  meta-llama/Llama-2-7b-hf\n")
    assert [line for line in result.err.splitlines() if line.startswith("error")] == [
        f"error: {paths[0]}: no such file",
        f"error: {paths[1]}: is a directory",
        f"error: {paths[2]}: line 1 is not valid UTF-8",
    ]


@pytest.mark.parametrize(
    ("flags", "line"),
    [
        ([], "error: give one of: --model and --backend-framework, -f FILE,"),
        (["--model", "m", "-f", "x"], "error: give one of: --model and --backend-framework, -f FILE,"),
        (["--model", "m"], "error: --backend-framework: is required and must not be empty"),
        (["--model", "", "--framework", "vllm"], "error: --model: is required and must not be empty"),
        (["--model", "m", "--framework", "tgi"], "error: --backend-framework: unknown framework 'tgi'"),
        (["--model", "m", "--framework", "vllm", "--backend-framework", "sglang"], "error: --framework: differs from"),
        (["--model", "m", "--framework", "vllm", "--tensor-parallel-size", "-1"], "error: --tensor-parallel-size: must be between"),
        (["--model", "m", "--framework", "vllm", "--max-model-len", "8k"], "error: Invalid value for '--max-model-len': '8k'"),
        (["--model", "m", "--framework", "vllm", "--extra", "k"], "error: --extra: expected KEY=VALUE, got 'k'"),
        (["--model", "m", "--framework", "vllm", "--extra", "k=1", "--extra", "k=1"], "error: --extra: k is given twice"),
        (["--model", "m", "--framework", "vllm", "-o", "wide"], "error: --output: invalid value 'wide'"),
        (["--model", "m", "--framwork", "vllm"], "error: No such option: --framwork"),
        (["--model", "m\udcff", "--framework", "vllm"], "error: --model: is not valid UTF-8"),
    ],
)
def test_bad_flags(chrek, flags, line):
    result = chrek("hash", *flags)
    assert (result.code, result.out) == (2, "")
    assert result.err.startswith(line)
