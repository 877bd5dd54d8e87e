"""The resolved table mappings of a migration: decided once, the same for every task of a run."""

from __future__ import annotations

import hashlib
import json
from functools import cache
from typing import TYPE_CHECKING, Any

from godwit.errors import DefinitionError
from godwit.model.mapping import TableMapping
from godwit.model.report import Finding, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from pydantic import TypeAdapter

    from godwit.model.definition import Definition
    from godwit.protocols import Control

MEMORY = "mappings"

#: Parts of a definition that shape rows; the others may change while a migration goes on.
SHAPING = ("migration_type", "source", "target", "tables", "table_mappings", "task_settings")


@cache
def _adapter() -> TypeAdapter[tuple[TableMapping, ...]]:
    from pydantic import TypeAdapter

    return TypeAdapter(tuple[TableMapping, ...])


def fingerprint(definition: Definition) -> str:
    """Changes when the definition would shape rows otherwise."""
    data = definition.to_dict()
    shaping = {name: data.get(name) for name in SHAPING}
    return hashlib.sha256(json.dumps(shaping, sort_keys=True, default=str).encode()).hexdigest()


def keep(control: Control, definition: Definition, mappings: Sequence[TableMapping]) -> None:
    """Store the mappings for the other tasks."""
    stored = _adapter().dump_python(tuple(mappings), mode="json")
    control.remember(MEMORY, {"definition": fingerprint(definition), "mappings": stored})


def kept(control: Control, definition: Definition) -> tuple[tuple[TableMapping, ...], bool] | None:
    """The stored mappings and whether the definition is still the one they came from."""
    stored: dict[str, Any] | None = control.recall(MEMORY)
    if stored is None:
        return None
    mappings = _adapter().validate_python(stored["mappings"])
    return mappings, stored["definition"] == fingerprint(definition)


def compare(
    before: Iterable[TableMapping], now: Iterable[TableMapping], *, same_definition: bool
) -> list[Finding]:
    """What is different since the migration began; `before` stays in force.

    Raises:
        DefinitionError: the definition was changed in a way that reshapes rows already loaded.
    """
    old = {m.source.name: m for m in before}
    new = {m.source.name: m for m in now}
    changed = [
        name
        for name, mapping in old.items()
        if name not in new
        or (mapping.signature != new[name].signature and _same_source(mapping, new[name]))
    ]
    if changed and not same_definition:
        raise DefinitionError(
            "table mappings were changed while the migration is under way",
            where=", ".join(sorted(map(str, changed))[:10]),
            why="rows of these tables are already loaded as the mappings were before",
            hint="take the change back, or `godwit cleanup` and start the migration again",
        )
    findings = [
        _finding("table-new", name, "the table is selected, but it is newer than the migration")
        for name in sorted(new.keys() - old.keys())
    ]
    findings += [
        _finding("table-gone", name, "the table is not on the source any more")
        for name in sorted(old.keys() - new.keys())
    ]
    for name in sorted(old.keys() & new.keys()):
        findings += _same_table(old[name], new[name])
    return findings


def _same_table(before: TableMapping, now: TableMapping) -> list[Finding]:
    if before.source.incarnation != now.source.incarnation:
        return [_finding("table-replaced", now.source.name, "it was dropped and made again")]
    if not _same_source(before, now):
        return [_finding("table-reshaped", now.source.name, "its columns were changed")]
    return []


def _same_source(before: TableMapping, now: TableMapping) -> bool:
    return _shape(before) == _shape(now)


def _shape(mapping: TableMapping) -> list[tuple[str, str, str | None]]:
    return [(c.name, c.native, c.generated) for c in mapping.source.columns]


def _finding(code: str, subject: object, reason: str) -> Finding:
    hint = "it is migrated as it was when the migration began; `godwit cleanup` and start again"
    return Finding(code, Severity.WARNING, str(subject), f"{reason} since the start", hint)
