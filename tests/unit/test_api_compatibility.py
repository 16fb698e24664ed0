"""Whether a capture can run somewhere: each rule in its three verdicts, with both values in the reason."""

import pytest

from kubectl_chrek.api.arguments import differences
from kubectl_chrek.api.compatibility import Compatibility, Gpu, Verdict, compatible, evaluate, failures, read_overrides

H200 = Gpu(model="NVIDIA H200", memory_bytes=150_754_820_096, uuid="GPU-1")
FACTS = Compatibility(
    architecture="x86_64",
    cpu_features=["avx", "avx2", "sse"],
    kernel="6.8.0-45-generic",
    criu="4.2.1",
    image_digest="docker.io/vllm@sha256:aa",
    argv=["python3", "-m", "vllm", "--model", "m", "--max-model-len=4096"],
    env_flags={"VLLM_USE_V1": "1"},
    mounts=["/checkpoint-signal", "/models"],
    memory_bytes=8 << 30,
    gpus=[H200],
    driver="580.65.06",
    cuda="13.0",
)


def verdicts(here, captured=FACTS):
    return {check.name: check.verdict for check in evaluate(captured, here)}


def only(checks, name):
    return next(check for check in checks if check.name == name)


def test_a_place_like_the_source_passes_every_check():
    checks = evaluate(FACTS, FACTS)
    assert {check.verdict for check in checks} == {Verdict.PASS}
    assert len(checks) == 15
    assert compatible(checks)
    assert not any(check.reason for check in checks)


@pytest.mark.parametrize(
    ("name", "field", "value", "parts"),
    [
        ("architecture", "architecture", "aarch64", ("x86_64", "aarch64")),
        ("cpu", "cpu_features", ["sse"], ("avx, avx2",)),
        ("kernel", "kernel", "5.15.0", ("6.8.0-45-generic", "5.15.0")),
        ("criu", "criu", "4.1", ("4.2.1", "4.1")),
        ("image", "image_digest", "docker.io/vllm@sha256:bb", ("sha256:aa", "sha256:bb")),
        (
            "arguments",
            "argv",
            ["python3", "-m", "vllm", "--model", "m", "--max-model-len", "8192"],
            ("--max-model-len 4096", "--max-model-len 8192"),
        ),
        ("environment", "env_flags", {}, ("VLLM_USE_V1=1", "no VLLM_USE_V1")),
        ("mounts", "mounts", ["/checkpoint-signal"], ("/models",)),
        ("memory", "memory_bytes", 1 << 30, ("8.00 GiB", "1.00 GiB")),
        ("gpu-count", "gpus", [H200, H200], ("1", "2")),
        ("gpu-model", "gpus", [H200.model_copy(update={"model": "NVIDIA A10"})], ("NVIDIA H200", "NVIDIA A10")),
        ("gpu-memory", "gpus", [H200.model_copy(update={"memory_bytes": 80 << 30})], ("140 GiB", "80 GiB")),
        ("mig", "gpus", [H200.model_copy(update={"mig": "1g.18gb"})], ("whole GPU", "1g.18gb")),
        ("driver", "driver", "575.51.03", ("580.65.06", "575.51.03")),
        ("driver", "driver", "590.10.01", ("580.65.06", "590.10.01")),
        ("cuda", "cuda", "12.9", ("13.0", "12.9")),
    ],
)
def test_a_difference_fails_with_both_values_in_its_reason(name, field, value, parts):
    checks = evaluate(FACTS, FACTS.model_copy(update={field: value}))
    assert [check.name for check in failures(checks)] == [name]
    assert all(part in only(checks, name).reason for part in parts)
    assert not compatible(checks)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("cpu_features", ["avx", "avx2", "avx512f", "sse"]),
        ("kernel", "6.8.0-51-generic"),
        ("kernel", "6.11.0"),
        ("criu", "4.3"),
        ("driver", "580.95.05"),
        ("cuda", "13.1"),
        ("mounts", ["/checkpoint-signal", "/models", "/more"]),
        ("memory_bytes", 9 << 30),
        ("argv", ["python3", "-m", "vllm", "--max-model-len", "4096", "--model=m"]),
    ],
)
def test_what_is_newer_or_more_passes(field, value):
    assert compatible(evaluate(FACTS, FACTS.model_copy(update={field: value})))


@pytest.mark.parametrize("swap", [False, True])
def test_what_is_not_known_is_never_a_match_and_never_a_refusal(swap):
    captured, here = (FACTS, Compatibility()) if swap else (Compatibility(), FACTS)
    checks = evaluate(captured, here)
    assert {check.verdict for check in checks} == {Verdict.UNKNOWN}
    assert all("not known" in check.reason for check in checks)
    assert compatible(checks)


def test_digests_of_different_kinds_are_not_compared():
    checks = evaluate(FACTS, FACTS.model_copy(update={"image_digest": "sha256:aa"}))
    assert only(checks, "image").verdict is Verdict.UNKNOWN
    assert verdicts(FACTS.model_copy(update={"image_digest": "docker.io/vllm:latest"}))["image"] is Verdict.UNKNOWN
    assert verdicts(FACTS.model_copy(update={"image_digest": "mirror.example/vllm@sha256:aa"}))["image"] is Verdict.PASS


def test_a_worker_without_gpus_runs_on_any():
    captured = FACTS.model_copy(update={"gpus": [], "driver": None, "cuda": None})
    assert not {"gpu-count", "driver", "cuda", "mig"} & verdicts(FACTS, captured).keys()
    assert verdicts(FACTS.model_copy(update={"gpus": []}))["gpu-count"] is Verdict.FAIL


def test_a_pod_can_waive_single_checks():
    older = FACTS.model_copy(update={"kernel": "5.15", "driver": "570"})
    one = evaluate(FACTS, older, overrides=frozenset({"kernel"}))
    assert [check.name for check in failures(one)] == ["driver"]
    assert (only(one, "kernel").verdict, only(one, "kernel").waived) == (Verdict.FAIL, True)
    assert compatible(evaluate(FACTS, older, overrides=read_overrides({"nvidia.com/chrek-compat-override": "Kernel, driver"})))
    assert compatible(evaluate(FACTS, older, overrides=read_overrides({"nvidia.com/chrek-compat-override": "all"})))
    assert read_overrides({}) == frozenset()


def test_a_record_reads_itself_back():
    assert Compatibility.model_validate(FACTS.model_dump(by_alias=True, exclude_none=True)) == FACTS


@pytest.mark.parametrize(
    ("captured", "here", "same"),
    [
        ("serve --a 1 --b", "serve --b --a=1", True),
        ("serve --a -1", "serve --a -2", False),
        ("serve --a 1 --a 2", "serve --a 2 --a 1", False),
        ("serve --a", "serve", False),
        ("serve m --a", "serve n --a", False),
        ("run -- x --a --b", "run -- x --b --a", False),
        ("serve -x 1 -y 2", "serve -y 2 -x 1", True),
    ],
)
def test_when_command_lines_start_the_same_worker(captured, here, same):
    assert (differences(captured.split(), here.split()) == []) is same


def test_a_shells_line_is_compared_letter_for_letter():
    assert differences(["sh", "-c", "run --a --b"], ["sh", "-c", "run --b --a"])
    assert differences(["sh", "-c", "run --a --b"], ["sh", "-c", "run --a --b"]) == []


def test_many_differences_are_cut_short():
    found = differences([], [f"--flag-{number}" for number in range(9)])
    assert len(found) == 4
    assert found[-1] == "and 6 more"
