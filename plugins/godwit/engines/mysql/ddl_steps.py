"""Steps of a schema plan from tables in pieces, whichever engine the pieces came from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.objects_shapes import ForeignKeyLine, KeyLine, TableShape
from godwit.engines.mysql.sqltext import canonical
from godwit.model.catalog import TableName
from godwit.model.report import Finding, Severity
from godwit.protocols import SchemaStep

MAX_NAME = 64
#: InnoDB takes so many secondary indexes of a table.
MAX_INDEXES = 64
PHASES = ("pre", "key", "post", "late")


@dataclass
class Findings:
    """Findings while a plan is made."""

    made: list[Finding] = field(default_factory=list)

    def warn(self, code: str, subject: object, reason: str, hint: str = "") -> None:
        """Something is not brought over, or otherwise than it was."""
        self.made.append(Finding(code, Severity.WARNING, str(subject), reason, hint))

    def note(self, code: str, subject: object, reason: str, hint: str = "") -> None:
        """Something is good to know."""
        self.made.append(Finding(code, Severity.INFO, str(subject), reason, hint))


def shortened(name: str, limit: int = MAX_NAME) -> str:
    """The name itself, or its beginning and a hash of the whole where it is too long."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 9].rstrip()}_{digest(name)}"


def digest(text: str) -> str:
    """Eight hexadecimal digits that tell names apart."""
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def database_step(name: str, statement: str = "") -> SchemaStep:
    """Makes a database, unless it is there."""
    text = statement or f"CREATE DATABASE IF NOT EXISTS {quoted(name)}"
    return SchemaStep("database", name, "pre", (text,), definition="database")


def table_steps(
    shapes: Sequence[TableShape], identities: dict[TableName, tuple[str, ...]]
) -> list[SchemaStep]:
    """Tables, indexes, foreign keys and statistics of them all."""
    shapes = _distinct_constraints(shapes)
    made = {s.full_name: s for s in shapes}
    steps: list[SchemaStep] = []
    for shape in shapes:
        steps.append(_table(shape))
        steps += [_index(shape, key, identities) for key in shape.keys if not _inline(shape, key)]
        steps += [_foreign_key(shape, key, made) for key in shape.foreign_keys]
        steps.append(_analyze(shape))
    return steps


def in_order(steps: Iterable[SchemaStep]) -> list[SchemaStep]:
    """By phase; within one, foreign keys behind all indexes and statistics last."""
    last = {"foreign key": 1, "analyze": 2}
    return sorted(steps, key=lambda s: (PHASES.index(s.phase), last.get(s.kind, 0)))


def _inline(shape: TableShape, key: KeyLine) -> bool:
    return key.name in shape.inline


def _table(shape: TableShape) -> SchemaStep:
    return SchemaStep(
        "table",
        str(shape.full_name),
        "pre",
        (shape.create(),),
        shape.full_name,
        shape.summary(),
        (f"database {shape.schema}",),
    )


def _index(
    shape: TableShape, key: KeyLine, identities: dict[TableName, tuple[str, ...]]
) -> SchemaStep:
    wanted = identities.get(shape.full_name, ())
    return SchemaStep(
        key.kind,
        f"{shape.full_name}.{key.name}",
        "key" if key == identity_key(shape, wanted) else "post",
        (f"ALTER TABLE {quoted(*shape.full_name)} ADD {key.sql()}",),
        shape.full_name,
        canonical(key.sql()),
        (f"table {shape.full_name}",),
    )


def identity_key(shape: TableShape, identity: Sequence[str]) -> KeyLine | None:
    """The key over exactly the columns of the row identity: the primary one, else the first."""
    keys = [k for k in shape.keys if k.unique and k.whole and set(k.columns) == set(identity)]
    return next(iter(sorted(keys, key=lambda k: not k.primary)), None) if identity else None


def _foreign_key(
    shape: TableShape, key: ForeignKeyLine, made: dict[TableName, TableShape]
) -> SchemaStep:
    other = made.get(key.referenced)
    needs = [_label(shape, k) for k in shape.keys if _leads(shape, k, key.columns)]
    needs += [f"table {shape.full_name}", f"table {key.referenced}"]
    if other is not None:
        needs += [_label(other, k) for k in other.keys if _leads(other, k, key.referenced_columns)]
    return SchemaStep(
        "foreign key",
        f"{shape.full_name}.{key.name}",
        "post",
        (f"ALTER TABLE {quoted(*shape.full_name)} ADD {key.sql()}",),
        shape.full_name,
        canonical(key.sql()),
        tuple(dict.fromkeys(needs)),
    )


def _label(shape: TableShape, key: KeyLine) -> str:
    return f"{key.kind} {shape.full_name}.{key.name}"


def _leads(shape: TableShape, key: KeyLine, columns: Sequence[str]) -> bool:
    """The key is an object of its own whose first columns these are."""
    return not _inline(shape, key) and set(key.columns[: len(columns)]) == set(columns)


def _analyze(shape: TableShape) -> SchemaStep:
    name = shape.full_name
    text = f"ANALYZE NO_WRITE_TO_BINLOG TABLE {quoted(*name)}"
    return SchemaStep("analyze", str(name), "post", (text,), name, "", (f"table {name}",))


def _distinct_constraints(shapes: Sequence[TableShape]) -> list[TableShape]:
    """Names of foreign keys and checks are the database's own: those taken get a hash behind."""
    taken: set[tuple[str, str, str]] = set()

    def free(kind: str, shape: TableShape, name: str) -> str:
        new = shortened(name)
        if (kind, shape.schema, new.casefold()) in taken:
            room = MAX_NAME - 9
            new = f"{name[:room]}_{digest(f'{shape.full_name}.{name}')}"
        taken.add((kind, shape.schema, new.casefold()))
        return new

    return [
        replace(
            shape,
            foreign_keys=tuple(
                replace(k, name=free("foreign key", shape, k.name)) for k in shape.foreign_keys
            ),
            checks=tuple(replace(c, name=free("check", shape, c.name)) for c in shape.checks),
        )
        for shape in shapes
    ]
