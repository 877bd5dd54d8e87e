"""Schemas under mappings: those that rules name are made, those that everything left are not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from godwit.engines.postgres.names import quoted
from godwit.model.catalog import NativeObject
from godwit.protocols import SchemaStep


def settle_schemas(
    made: Sequence[tuple[NativeObject, NativeObject]], steps: Sequence[SchemaStep]
) -> list[SchemaStep]:
    """The steps of objects (old and new, in the same order) with the schemas they live in."""
    there = {step.name for step in steps if step.kind == "schema"}
    settled, wanted, left = [], set(), set()
    for (old, new), step in zip(made, steps, strict=True):
        if not new.schema or new.schema == old.schema:
            settled.append(step)
            continue
        left.add(old.schema)
        if new.schema not in there:
            wanted.add(new.schema)
        depends = [d for d in step.depends if d != f"schema {old.schema}"]
        settled.append(replace(step, depends=(*depends, f"schema {new.schema}")))
    inhabited = {d for step in settled if step.kind != "comment" for d in step.depends}
    empty = {f"schema {name}" for name in left} - inhabited
    kept = [
        step
        for step in settled
        if f"{step.kind} {step.name}" not in empty
        and not (step.kind == "comment" and empty.intersection(step.depends))
    ]
    return [*map(_made, sorted(wanted)), *kept]


def _made(name: str) -> SchemaStep:
    statement = f"CREATE SCHEMA IF NOT EXISTS {quoted(name)}"
    return SchemaStep("schema", name, "pre", (statement,), definition="schema")
