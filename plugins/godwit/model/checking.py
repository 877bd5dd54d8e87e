"""Pydantic's complaints as problems: key, reason, fix."""

from __future__ import annotations

import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from godwit.model.problems import KeyPath, Problems


class Part(BaseModel):
    """A part of a definition: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


M = TypeVar("M", bound=BaseModel)


def check(model: type[M], data: Any, problems: Problems, path: KeyPath = ()) -> M | None:
    """Validate plain data; what is wrong goes to `problems`, and None comes back."""
    try:
        return model.model_validate(data)
    except ValidationError as cause:
        for error in cause.errors(include_url=False, include_input=False):
            _explain(model, error, problems, path)
        return None


def _explain(model: type[BaseModel], error: Any, problems: Problems, path: KeyPath) -> None:
    place: KeyPath = tuple(error["loc"])
    kind = error["type"]
    if kind == "extra_forbidden":
        owner = _model_at(model, place[:-1])
        problems.unknown((*path, *place), _keys(owner) if owner else ())
    elif kind == "missing":
        owner = _model_at(model, place[:-1])
        about = _description(owner, str(place[-1])) if owner else ""
        problems.add((*path, *place), "is missing", f"add it: {about}" if about else "add it")
    else:
        reason, _, hint = error["msg"].removeprefix("Value error, ").partition(" | ")
        owner = _model_at(model, place[:-1]) if place else None
        about = _description(owner, str(place[-1])) if owner else ""
        fix = f"it must be: {about}" if about else "correct the value"
        problems.add((*path, *place), _plain(kind, reason), hint or fix)


def _plain(kind: str, reason: str) -> str:
    if kind in ("model_type", "model_attributes_type", "dict_type"):
        return "must be a mapping of keys and values"
    if kind in ("list_type", "tuple_type"):
        return "must be a list"
    return reason[:1].lower() + reason[1:]


def _keys(model: type[BaseModel]) -> list[str]:
    return [field.alias or name for name, field in model.model_fields.items()]


def _description(model: type[BaseModel], key: str) -> str:
    for name, field in model.model_fields.items():
        if key in (name, field.alias):
            return field.description or ""
    return ""


def _model_at(model: type[BaseModel], place: KeyPath) -> type[BaseModel] | None:
    at: type[BaseModel] | None = model
    for key in place:
        if isinstance(key, int):
            continue
        fields = at.model_fields if at else {}
        found = next((f for n, f in fields.items() if key in (n, f.alias)), None)
        at = _model_in(found.annotation) if found else None
    return at


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    if typing.get_origin(annotation) in (list, tuple, typing.Union, types.UnionType):
        inner = (_model_in(a) for a in typing.get_args(annotation))
        return next((m for m in inner if m), None)
    return None


def as_mapping(value: Any) -> Mapping[str, Any]:
    """The value when it is a mapping, else an empty one."""
    return value if isinstance(value, Mapping) else {}
