"""The pages about definitions say what the code does."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import yaml

from godwit.model.definition import Definition, parse_definition
from godwit.model.rule_models import ACTIONS, OPERATORS
from godwit.model.settings_table import SETTINGS, Setting

DOCS = Path(__file__).resolve().parents[2] / "docs"


def row(setting: Setting) -> str:
    """A line of the table of settings."""
    default = "-" if setting.default in (None, "") else json.dumps(setting.default).strip('"')
    effect = setting.effect or f"*no effect:* {setting.instead}"
    return f"| `{setting.path}` | {default} | {effect} |"


@pytest.mark.parametrize("path", sorted(SETTINGS))
def test_every_setting_is_in_the_page_as_it_is(path: str) -> None:
    assert row(SETTINGS[path]) in (DOCS / "dms-compatibility.md").read_text().splitlines()


def test_page_has_no_other_settings() -> None:
    lines = (DOCS / "dms-compatibility.md").read_text().splitlines()
    written = {m[1] for line in lines if (m := re.match(r"\| `(\w+(?:\.\w+)+)` \|", line))}
    assert written <= set(SETTINGS)


@pytest.mark.parametrize("word", [*OPERATORS, *ACTIONS])
def test_every_operator_and_action_is_in_the_page(word: str) -> None:
    assert f"`{word}`" in (DOCS / "dms-compatibility.md").read_text()


def test_every_key_is_in_the_page() -> None:
    text = (DOCS / "definition.md").read_text()
    assert [name for name in Definition.model_fields if f"`{name}" not in text] == []


def test_examples_of_the_page_work() -> None:
    examples = re.findall(r"```yaml\n(.*?)```", (DOCS / "definition.md").read_text(), re.DOTALL)
    whole = [yaml.safe_load(e) for e in examples if e.startswith("name:")]
    assert len(whole) >= 3
    for example in whole:
        parse_definition(example, "docs/definition.md")
