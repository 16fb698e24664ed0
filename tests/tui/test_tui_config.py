"""The user's own keys and theme."""

import pytest

from kubectl_chrek.api.errors import UsageError
from kubectl_chrek.tui.config import Config, config_path, load_config, read_config


def test_the_usual_place(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert config_path() == tmp_path / "kubectl-chrek" / "config.yaml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert config_path() == tmp_path / ".config" / "kubectl-chrek" / "config.yaml"


def test_no_file_and_an_empty_one_are_the_defaults(tmp_path):
    assert load_config(tmp_path / "none") == Config() == read_config("", "x")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[", "x is not valid YAML"),
        ("- 1", "x: expected a mapping"),
        ("colour: red", "x: unknown setting 'colour'"),
        ("keys: 1", "x: keys: expected a mapping"),
        ("keys: {list.fly: f}", "x: keys: there is no action 'list.fly'"),
        ("keys: {list.delete: 1}", "x: keys: list.delete: expected the name of a key"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text, message):
    with pytest.raises(UsageError, match=message.replace("[", r"\[")):
        read_config(text, "x")


def test_a_file_that_cannot_be_read(tmp_path):
    with pytest.raises(UsageError, match="Is a directory"):
        load_config(tmp_path)


async def test_keys_and_theme_are_the_users(start, source):
    config = read_config("theme: ansi-light\nkeys: {view.copy: 'x,ctrl+y'}", "x")
    async with start(source, config=config) as driver:
        assert driver.app.theme == "ansi-light"
        await driver.press("c")
        assert driver.notes == []
        await driver.press("x", "ctrl+y")
        assert driver.notes == ["Copied deepseek-r1"] * 2


async def test_a_theme_that_is_not_there_is_told(start, source):
    async with start(source, config=Config(theme="[nope]")) as driver:
        assert driver.notes == ["there is no theme [nope]"]
