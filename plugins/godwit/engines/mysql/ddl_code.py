"""Views, routines, triggers, events and sequences of this engine under mappings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from godwit.engines.mysql.ddl_steps import Findings
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.objects import CodeObject, code_definition
from godwit.engines.mysql.sqltext import mentions, moved, names, tokens
from godwit.model.catalog import TableName
from godwit.model.mapping import TableMapping
from godwit.protocols import SchemaStep


@dataclass(frozen=True)
class Code:
    """What the mappings mean for code. `databases`: new names of those that move as a whole."""

    mappings: Sequence[TableMapping]
    by_source: Mapping[TableName, TableMapping]
    databases: Mapping[str, str]
    same_flavour: bool
    findings: Findings

    def step(self, thing: CodeObject) -> SchemaStep | None:
        """The step that makes it; None = it is not brought over, and a finding says why."""
        label = f"{thing.kind} {thing.schema}.{thing.name}"
        hint = "make it on the target by hand"
        if thing.table is not None and thing.table not in self.by_source:
            return None
        if thing.refused:
            self.findings.warn("object-not-converted", label, thing.refused, hint)
            return None
        if not self.same_flavour:
            reason = "code is not brought over between MySQL and MariaDB: they differ in words"
            self.findings.warn("object-not-converted", label, reason, hint)
            return None
        if changed := self._uses_changed(thing):
            reason = f"it uses {', '.join(changed)}, which has another name or shape on the target"
            self.findings.warn("mentions-renamed", label, reason, f"{hint}, with the new names")
            return None
        if thing.definer:
            reason = f"on the source it has the rights of {thing.definer}"
            self.findings.note(
                "definer-replaced", label, reason, "on the target those of the migrating login"
            )
        return self._code_step(thing)

    def _uses_changed(self, thing: CodeObject) -> list[str]:
        """Tables that it mentions and whose name or columns are others on the target."""
        text = thing.statements[-1]
        found = []
        for mapping in self.mappings:
            old = mapping.source.name
            stays = {c.source for c in mapping.columns if c.source == c.target and not c.type}
            reshaped = {c.name for c in mapping.source.stored_columns} - stays
            moved_alone = mapping.target.schema != old.schema and old.schema not in self.databases
            if not (reshaped or mapping.target.name != old.name or moved_alone):
                continue
            if mentions(text, old.name.__eq__):
                found.append(str(old))
        return sorted(found)

    def _code_step(self, thing: CodeObject) -> SchemaStep:
        schema = self.databases.get(thing.schema, thing.schema)
        tables = {m.source.name: m.target for m in self.mappings}
        body = moved(thing.statements[-1], tables, self.databases)
        settings = thing.statements[:-1]
        # Names in code that have no database before them mean the one it was made in.
        statements = (*settings, f"USE {quoted(schema)}", body)
        table = self.by_source[thing.table].target if thing.table else None
        text = code_definition(schema, (*settings, body))
        depends = [f"database {schema}", *([f"table {table}"] if table else [])]
        name = f"{schema}.{thing.name}"
        return SchemaStep(thing.kind, name, thing.phase, statements, table, text, tuple(depends))


def linked(steps: Sequence[SchemaStep]) -> list[SchemaStep]:
    """Views after the tables and views they name, tables after the sequences of their defaults."""
    functions = {s.name: s for s in steps if s.kind == "function"}
    makers = {
        s.name: f"{s.kind} {s.name}" for s in steps if s.kind in {"table", "view", "sequence"}
    }
    out = []
    for step in steps:
        if step.kind not in {"view", "table"}:
            out.append(step)
            continue
        line = list(tokens(step.statements[-1]))
        named = set()
        for at in range(len(line) - 2):
            if line[at][0] == line[at + 2][0] == "name" and line[at + 1][1] == ".":
                named.add(".".join(names(line[at][1]) + names(line[at + 2][1])))
        needs = [makers[n] for n in sorted(named) if n in makers and n != step.name]
        if step.kind == "view":
            called = {t.strip("`") for k, t in line if k in {"name", "word"}}
            schema = step.name.partition(".")[0]
            needs += [f"function {n}" for n in functions if n.removeprefix(f"{schema}.") in called]
        if step.kind == "table":
            needs = [n for n in needs if n.startswith("sequence ")]
        out.append(replace(step, depends=(*step.depends, *needs)))
    return out
