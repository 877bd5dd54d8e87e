"""Names in PostgreSQL for what another engine calls otherwise: length, words taken, collisions."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from godwit.model.catalog import Catalog, TableName
from godwit.model.mapping import TableMapping
from godwit.model.report import Finding, Severity

MAX_NAME_BYTES = 63
#: Columns that every table has already.
SYSTEM_COLUMNS = frozenset({"ctid", "xmin", "xmax", "cmin", "cmax", "tableoid"})
SYSTEM_PREFIX = "pg_"
_DIGITS = 8


def shortened(name: str) -> str:
    """The name, or when it is too long its beginning and a hash of the whole: always the same."""
    if len(name.encode()) <= MAX_NAME_BYTES:
        return name
    ending = "_" + hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
    return name.encode()[: MAX_NAME_BYTES - len(ending)].decode(errors="ignore") + ending


@dataclass
class Names:
    """Relations and types of each schema: one name space, where other engines have several."""

    taken: dict[str, set[str]] = field(default_factory=dict)

    @classmethod
    def of(cls, mappings: Iterable[TableMapping]) -> Names:
        """The names that the tables themselves take."""
        names = cls()
        for mapping in mappings:
            names.taken.setdefault(mapping.target.schema, set()).add(mapping.target.name)
        return names

    def free(self, table: TableName, name: str, ending: str = "") -> str:
        """A name for something of the table that nothing else in its schema has."""
        own = name if name.startswith(table.name) else f"{table.name}_{name}"
        own = own if not ending or own.endswith(ending) else own + ending
        taken = self.taken.setdefault(table.schema, set())
        found = shortened(own)
        number = 1
        while found in taken:
            number += 1
            found = shortened(f"{own}_{number}")
        taken.add(found)
        return found


def fit(
    catalog: Catalog, mappings: Sequence[TableMapping]
) -> tuple[tuple[TableMapping, ...], list[Finding]]:
    """The mappings under names that PostgreSQL can bear; a finding for each that was changed."""
    del catalog
    findings: list[Finding] = []
    fitted = tuple(_fit_table(mapping, findings) for mapping in mappings)
    return fitted, findings


def _fit_table(mapping: TableMapping, findings: list[Finding]) -> TableMapping:
    target = TableName(_schema(mapping.target.schema), shortened(mapping.target.name))
    columns = {c.target: column_name(c.target) for c in mapping.columns}
    if target == mapping.target and all(old == new for old, new in columns.items()):
        return mapping
    if target != mapping.target:
        findings.append(_changed(str(mapping.target), str(target)))
    findings += [
        _changed(f"{mapping.target}.{old}", new) for old, new in columns.items() if old != new
    ]
    return replace(
        mapping,
        target=target,
        columns=tuple(replace(c, target=columns[c.target]) for c in mapping.columns),
        identity=tuple(columns.get(c, c) for c in mapping.identity),
    )


def _schema(name: str) -> str:
    # Schemas of that prefix are the server's own.
    return shortened(f"_{name}" if name.startswith(SYSTEM_PREFIX) else name)


def column_name(name: str) -> str:
    """A column's name as PostgreSQL can bear it."""
    return f"{name}_" if name in SYSTEM_COLUMNS else shortened(name)


def _changed(old: str, new: str) -> Finding:
    reason = f"PostgreSQL cannot bear that name ({len(old.rpartition('.')[2].encode())} bytes of "
    reason += f"{MAX_NAME_BYTES}, or it is the server's own): it is called {new} there"
    hint = "choose a name by a transformation rule (rename) if you want another one"
    return Finding("name-changed", Severity.WARNING, old, reason, hint)
