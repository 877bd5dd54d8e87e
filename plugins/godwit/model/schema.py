"""The JSON Schema of table mappings: one form for each type of rule."""

from __future__ import annotations

from typing import Any

from godwit.model.rule_models import OtherRule
from godwit.model.rules import RULE_TYPES


def rules_schema() -> dict[str, Any]:
    """Inline rules, their JSON text, or the path of a .json file."""
    forms: list[dict[str, Any]] = []
    for kind, model in RULE_TYPES.items():
        form = _inlined(model.model_json_schema(by_alias=True))
        form["properties"]["rule-type"] = {"const": kind}
        form["additionalProperties"] = model is OtherRule
        forms.append(form)
    rules = {"type": "array", "items": {"oneOf": forms}}
    inline = {
        "type": "object",
        "properties": {"rules": rules},
        "required": ["rules"],
        "additionalProperties": False,
    }
    return {"anyOf": [inline, {"type": "string"}]}


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """References to ``$defs`` replaced by what they mean: the forms are put into another schema."""
    parts = schema.pop("$defs", {})

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(v) for v in value]
        if not isinstance(value, dict):
            return value
        if "$ref" in value:
            rest = {k: v for k, v in value.items() if k != "$ref"}
            return {**walk(parts[value["$ref"].rpartition("/")[2]]), **rest}
        return {k: walk(v) for k, v in value.items()}

    found: dict[str, Any] = walk(schema)
    return found
