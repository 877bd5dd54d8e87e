"""Names that a MySQL or MariaDB server can bear: lengths, trailing blanks, collisions by case."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

from godwit.engines.mysql.connection import Version
from godwit.engines.mysql.ddl_steps import MAX_NAME, Findings, digest, shortened
from godwit.model.catalog import Catalog, TableName
from godwit.model.mapping import TableMapping
from godwit.model.report import Finding

#: Databases that a migration must not write into.
_RESERVED = frozenset({"information_schema", "performance_schema", "mysql", "sys"})
_BASIC_PLANE = 0x10000

_N = TypeVar("_N", str, TableName)


def fit(
    catalog: Catalog,
    mappings: Sequence[TableMapping],
    version: Version,
    lower_case_table_names: int = 0,
) -> tuple[tuple[TableMapping, ...], list[Finding]]:
    """The mappings under names that the server can bear; each name changed is a finding.

    The same names always become the same: what is too long keeps its beginning and gets a hash of
    the whole; of names that are one to the server, the first in order keeps its own.
    """
    del catalog, version
    findings = Findings()
    fold: Callable[[str], str] = str.lower if lower_case_table_names else str
    schemas = _settled((m.target.schema for m in mappings), fold, _database)
    tables = _settled(
        (TableName(schemas[m.target.schema], m.target.name) for m in mappings),
        lambda name: TableName(fold(name.schema), fold(name.name)),
        _table,
    )
    out = []
    for mapping in mappings:
        old = mapping.target
        new = tables[TableName(schemas[old.schema], old.name)]
        if new != old:
            reason = f"its name on the target is {new}: {_why(old, new)}"
            findings.warn("name-changed", old, reason, "give it a name of your own by a rule")
        out.append(_columns(replace(mapping, target=new), findings))
    return tuple(out), findings.made


def _columns(mapping: TableMapping, findings: Findings) -> TableMapping:
    """Names of columns differ by more than case, on every server. Generated ones count too."""
    computed = [c.name for c in mapping.source.columns if c.generated is not None]
    names = [*(c.target for c in mapping.columns), *computed]
    new = _settled(names, str.lower, _part)
    if all(old == now for old, now in new.items()):
        return mapping
    for old, now in new.items():
        if old != now and old not in computed:
            reason = f"column {old} becomes {now}: MySQL takes it for another, or cannot bear it"
            findings.warn(
                "name-changed", mapping.target, reason, "give it a name of your own by a rule"
            )
    return replace(
        mapping,
        columns=tuple(replace(c, target=new[c.target]) for c in mapping.columns),
        identity=tuple(new[c] for c in mapping.identity),
    )


def _settled(
    names: Iterable[_N], fold: Callable[[_N], _N], change: Callable[[_N, bool], _N]
) -> dict[_N, _N]:
    """What becomes of each name. `change(name, taken)` makes one that can be borne."""
    wanted = sorted(set(names))
    new: dict[_N, _N] = {}
    taken: set[_N] = set()
    # Names that can stay as they are come first: a changed one must not take theirs.
    for name in sorted(wanted, key=lambda n: (change(n, False) != n, n)):
        found = change(name, False)
        if fold(found) in taken:
            found = change(name, True)
        taken.add(fold(found))
        new[name] = found
    return new


def _part(name: str, taken: bool) -> str:  # noqa: FBT001
    """A name of up to 64 characters of the basic plane, without blanks at its end."""
    sound = "".join(c if c not in "\0" and ord(c) < _BASIC_PLANE else "_" for c in name).rstrip(" ")
    if taken or sound != name:
        return f"{sound[: MAX_NAME - 9]}_{digest(name)}"
    return shortened(name)


def _database(name: str, taken: bool) -> str:  # noqa: FBT001
    if name.lower() in _RESERVED:
        return f"{name}_{digest(name)}"
    return _part(name, taken)


def _table(name: TableName, taken: bool) -> TableName:  # noqa: FBT001
    return TableName(name.schema, _part(name.name, taken))


def _why(old: TableName, new: TableName) -> str:
    if len(old.name) > MAX_NAME or len(old.schema) > MAX_NAME:
        return f"names have up to {MAX_NAME} characters"
    if old.schema != new.schema:
        return "the database is the server's own, or cannot have that name"
    return "another table has it by the server's rules, or it has characters that names cannot have"
