"""The fields of an identity: what they come to, in the prewarm form and as a what-if."""

import pytest
from textual.widgets import Input

from kubectl_chrek.api.errors import ConflictError, UsageError
from kubectl_chrek.api.identity import Identity, parse_identity
from kubectl_chrek.tui.screens.checkpoints import CheckpointsScreen
from kubectl_chrek.tui.screens.detail import DetailScreen
from kubectl_chrek.tui.screens.prewarm import PrewarmScreen
from kubectl_chrek.tui.views.form import read_values, values_of


@pytest.mark.parametrize(
    "spec",
    [
        {"model": "m", "backendFramework": "vllm"},
        {"model": "m/x", "backendFramework": "trtllm", "dynamoVersion": "1", "tensorParallelSize": 8, "pipelineParallelSize": 2}
        | {"dtype": "fp8", "maxModelLen": 4096, "extraParameters": {"b": "2", "a": "x=y"}},
    ],
)
def test_an_identity_goes_into_the_fields_and_comes_out_the_same(spec):
    identity = parse_identity(spec)
    assert read_values(values_of(identity)) == identity


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({}, "Model: is required and must not be empty"),
        ({"model": "m"}, "Backend: is required and must not be empty"),
        ({"model": "m", "backendFramework": "x"}, "Backend: unknown framework 'x'"),
        ({"model": "m", "backendFramework": "vllm", "tensorParallelSize": "²"}, "TP: expected a whole number, got '²'"),
        ({"model": "m", "backendFramework": "vllm", "maxModelLen": "99999999999"}, "Max length: must be between 1 and 2147483647"),
        ({"model": "m", "backendFramework": "vllm", "extraParameters": "a=1,b"}, "Extra: expected key=value, got 'b'"),
    ],
)
def test_what_is_off_is_told_by_the_fields_label(values, message):
    with pytest.raises(UsageError) as error:
        read_values(values)
    assert str(error.value).startswith(message)


async def test_what_if_tells_the_new_hash_and_whether_it_is_there(start, source, checkpoint_body):
    source.checkpoints.append(checkpoint_body("llama-fp8", identity={"dtype": "fp8"}, phase="Failed"))
    async with start(source) as driver:
        await driver.press("slash", *"llama-3", "enter", "enter", "e")
        assert driver.app.screen.query_one("#field-model", Input).has_focus
        field = driver.app.screen.query_one("#field-dtype", Input)
        for text, exists in (("int4", "no, there is no such checkpoint"), ("fp8", "✗ Failed  default/llama-fp8")):
            field.value = text
            await driver.settle()
            shown = driver.text("#identity-verdict")
            assert f"bfloat16 → {text}" in shown
            assert exists in shown
            changed = Identity("meta-llama/Llama-3.1-8B-Instruct", "vllm", dtype=text)
            assert changed.hash in shown
        driver.app.screen.query_one("#field-tensorParallelSize", Input).value = "two"
        await driver.settle()
        assert "TP: expected a whole number" in driver.text("#identity-verdict")
        await driver.press("escape")
        assert isinstance(driver.app.screen, DetailScreen)
        await driver.press("escape")
        assert isinstance(driver.app.screen, CheckpointsScreen)


async def test_the_form_creates_what_it_says(start, source):
    async with start(source) as driver:
        await driver.press("j", "j", "w")
        assert isinstance(driver.app.screen, PrewarmScreen)
        assert "Exists        ● Ready  default/llama-3-8b" in driver.text("#prewarm-text")
        screen = driver.app.screen
        for name, value in {"dtype": "fp8", "image": "vllm:1", "command": "serve 'a b'", "gpus": "x"}.items():
            screen.query_one(f"#field-{name}", Input).value = value
        await driver.settle()
        assert "GPUs: expected a whole number" in driver.text("#prewarm-text")
        await driver.press("ctrl+j")
        assert driver.app.screen is screen
        screen.query_one("#field-gpus", Input).value = "2"
        await driver.settle()
        assert "ctrl+j creates it" in driver.text("#prewarm-text")
        await driver.press("ctrl+j")
        made = Identity("meta-llama/Llama-3.1-8B-Instruct", "vllm", dtype="fp8").hash
        assert source.done == [("prewarm", made, "default")]
        assert f"{made} is being made" in driver.notes
        assert isinstance(driver.app.screen, CheckpointsScreen)


async def test_a_refused_form_stays(start, source):
    source.change_error = ConflictError("the name is taken [/]")
    async with start(source) as driver:
        await driver.press("j", "j", "w")
        for name, value in {"image": "vllm:1", "command": "serve"}.items():
            driver.app.screen.query_one(f"#field-{name}", Input).value = value
        await driver.press("ctrl+j")
        assert driver.notes == ["the name is taken [/]"]
        assert isinstance(driver.app.screen, PrewarmScreen)
