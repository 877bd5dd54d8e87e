"""Native objects in pieces that can be changed: tables as SHOW CREATE TABLE writes them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.sqltext import canonical, items, names, plain, renamed, tokens, unquoted
from godwit.model.catalog import NativeObject, TableName

_KEY = re.compile(r"^(PRIMARY KEY|(?:UNIQUE |FULLTEXT |SPATIAL |VECTOR )?KEY)\b")
_FOREIGN_KEY = re.compile(r"^CONSTRAINT (`(?:[^`]|``)+`) FOREIGN KEY ")
_CHECK = re.compile(r"^CONSTRAINT (`(?:[^`]|``)+`) CHECK ")
_REFERENCES = re.compile(
    r"\s*REFERENCES\s+(?:(?P<schema>`(?:[^`]|``)+`)\.)?(?P<table>`(?:[^`]|``)+`)\s*(?=\()"
)
_ON = re.compile(r"ON (DELETE|UPDATE) (CASCADE|SET NULL|SET DEFAULT|NO ACTION|RESTRICT)")
_PREFIX = re.compile(r"\s*\(\d+\)$")
_COUNTER = re.compile(r"\s*AUTO_INCREMENT=\d+", re.IGNORECASE)
_CHARSET = re.compile(r"CHARSET=(\w+)")
_COLLATE = re.compile(r"COLLATE[= ](\w+)")
_TEXT_TYPE = re.compile(r"^(?:char|varchar|tinytext|text|mediumtext|longtext|enum|set)\b")


@dataclass(frozen=True)
class ColumnLine:
    """A column: its name, and the text behind it (type, default, comment …)."""

    name: str
    text: str

    def sql(self) -> str:
        """As in CREATE TABLE."""
        return f"{quoted(self.name)} {self.text}"


@dataclass(frozen=True)
class KeyLine:
    """A key or index. `word`: how it begins (``UNIQUE KEY``); `parts`: what is indexed, in text;
    `rest`: what follows. The name of a primary key is ``PRIMARY``.
    """

    name: str
    word: str
    parts: tuple[str, ...]
    rest: str = ""

    @property
    def primary(self) -> bool:
        """Whether it is the primary key."""
        return self.word == "PRIMARY KEY"

    @property
    def unique(self) -> bool:
        """Whether it keeps rows apart."""
        return self.word in {"PRIMARY KEY", "UNIQUE KEY"}

    @property
    def columns(self) -> tuple[str, ...]:
        """Indexed columns, whole ones or not; an expression is ````."""
        return tuple(names(p)[0] if p.startswith("`") else "" for p in self.parts)

    @property
    def whole(self) -> bool:
        """Whether whole columns are indexed."""
        return all(p.startswith("`") and not _PREFIX.search(_direction(p)) for p in self.parts)

    @property
    def kind(self) -> str:
        """In words of the parity report."""
        return {"PRIMARY KEY": "primary key", "UNIQUE KEY": "unique key"}.get(self.word, "index")

    def sql(self) -> str:
        """As in CREATE TABLE or behind ADD."""
        name = "" if self.primary else f" {quoted(self.name)}"
        return f"{self.word}{name} ({','.join(self.parts)}){self.rest}"

    def renamed(self, columns: Mapping[str, str]) -> KeyLine:
        """With other names of columns."""
        return replace(self, parts=tuple(renamed(p, columns) for p in self.parts))


def _direction(part: str) -> str:
    return part.removesuffix(" DESC").removesuffix(" ASC")


@dataclass(frozen=True)
class ForeignKeyLine:
    """A foreign key."""

    name: str
    columns: tuple[str, ...]
    referenced: TableName
    referenced_columns: tuple[str, ...]
    on_delete: str = ""
    on_update: str = ""

    def sql(self) -> str:
        """As behind ADD; the other table with its database."""
        own, others = (
            ", ".join(quoted(c) for c in cs) for cs in (self.columns, self.referenced_columns)
        )
        text = f"CONSTRAINT {quoted(self.name)} FOREIGN KEY ({own})"
        text += f" REFERENCES {quoted(*self.referenced)} ({others})"
        for word, action in (("DELETE", self.on_delete), ("UPDATE", self.on_update)):
            # RESTRICT and NO ACTION are one to InnoDB, and what it does when nothing is said.
            if action not in {"", "RESTRICT", "NO ACTION"}:
                text += f" ON {word} {action}"
        return text


@dataclass(frozen=True)
class CheckLine:
    """A check constraint of the table: its name, and the text from CHECK on."""

    name: str
    text: str

    def sql(self) -> str:
        """As in CREATE TABLE."""
        return f"CONSTRAINT {quoted(self.name)} {self.text}"


@dataclass(frozen=True)
class TableShape(NativeObject):
    """A table. `inline` keys are made with it, the other ones of `keys` are objects of their own.

    `options`: ``ENGINE=… DEFAULT CHARSET=…``; `partitions`: from PARTITION BY on.
    """

    columns: tuple[ColumnLine, ...] = ()
    keys: tuple[KeyLine, ...] = ()
    foreign_keys: tuple[ForeignKeyLine, ...] = ()
    checks: tuple[CheckLine, ...] = ()
    periods: tuple[str, ...] = ()
    options: str = ""
    partitions: str = ""
    inline: frozenset[str] = frozenset()

    @property
    def full_name(self) -> TableName:
        """Database and name."""
        return TableName(self.schema, self.name)

    def create(self, *, temporary: str = "") -> str:
        """CREATE TABLE with inline keys; as a temporary table of that name without partitions."""
        keys = [k.sql() for k in self.keys if k.name in self.inline]
        lines = [*(c.sql() for c in self.columns), *keys, *self.periods]
        lines += [c.sql() for c in self.checks]
        body = ",\n  ".join(lines)
        if temporary:
            options = self.options.replace(" WITH SYSTEM VERSIONING", "")
            name = quoted(self.schema, temporary)
            return f"CREATE TEMPORARY TABLE {name} (\n  {body}\n) {options}"
        partitions = f"\n{self.partitions}" if self.partitions else ""
        name = quoted(self.schema, self.name)
        return f"CREATE TABLE {name} (\n  {body}\n) {self.options}{partitions}"

    def summary(self, *, partitions: bool = True) -> str:
        """Canonical text of all that `create` makes: equal text, equal table."""
        lines = [self.explicit(c).sql() for c in map(_canonical_column, self.columns)]
        lines += [canonical(k.sql()) for k in self.keys if k.name in self.inline]
        lines += [canonical(p) for p in self.periods]
        lines += sorted(canonical(c.sql()) for c in self.checks)
        options = canonical(self.options)
        lines.append(" ".join(sorted(_option_words(options))))
        if partitions and self.partitions:
            lines.append(_canonical_partitions(self.partitions))
        return "\n".join(line for line in lines if line)

    def explicit(self, column: ColumnLine) -> ColumnLine:
        """The column with the collation that the table says for it."""
        text = column.text
        if not _TEXT_TYPE.match(text) or " CHARACTER SET " in text or " COLLATE " in text:
            return column
        head, tail = _type_end(text)
        return ColumnLine(column.name, f"{head} {self._default_collation()}{tail}")

    def _default_collation(self) -> str:
        charset, collate = _CHARSET.search(self.options), _COLLATE.search(self.options)
        text = f"CHARACTER SET {charset[1]}" if charset else ""
        return canonical(f"{text} COLLATE {collate[1]}" if collate else text)


def _canonical_column(column: ColumnLine) -> ColumnLine:
    return ColumnLine(column.name, canonical(column.text))


def _type_end(text: str) -> tuple[str, str]:
    """The text's type and the rest."""
    depth = length = 0
    for kind, piece in tokens(text):
        if kind == "other" and piece in "()":
            depth += 1 if piece == "(" else -1
        elif kind == "space" and depth == 0:
            break
        length += len(piece)
    return text[:length], text[length:]


def _option_words(options: str) -> list[str]:
    """Options apart; the counter is the state of rows, not a shape."""
    out, current = [], ""
    for kind, piece in tokens(options):
        if kind == "space" and not current.endswith(("DEFAULT", "WITH", "SYSTEM")):
            out.append(current)
            current = ""
        else:
            current += piece
    return [w for w in (*out, current) if w]


def _canonical_partitions(text: str) -> str:
    # The engine is said for each partition, which cannot be another than the table's.
    text = re.sub(r"\s*ENGINE\s*=\s*\w+", "", canonical(text)).replace("`", "")
    return re.sub(r"\s*([(),])\s*", r"\1", text)


def parse_table(database: str, name: str, text: str) -> TableShape:
    """A table from what SHOW CREATE TABLE says of it."""
    lines, rest = items(plain(text))
    columns, keys, foreign, checks, periods = [], [], [], [], []
    for line in lines:
        if line.startswith("`"):
            column, after = _leading_name(line)
            columns.append(ColumnLine(column, after))
        elif match := _KEY.match(line):
            keys.append(_key(match[1], line))
        elif match := _FOREIGN_KEY.match(line):
            foreign.append(_foreign_key(database, unquoted(match[1]), line[match.end() :]))
        elif match := _CHECK.match(line):
            checks.append(CheckLine(unquoted(match[1]), line[match.end() - len("CHECK ") :]))
        else:
            periods.append(line)
    options, partitions = _options(rest)
    shape = TableShape(
        kind="table",
        schema=database,
        name=name,
        statements=(),
        phase="pre",
        table=TableName(database, name),
        columns=tuple(columns),
        keys=tuple(keys),
        foreign_keys=tuple(foreign),
        checks=tuple(checks),
        periods=tuple(periods),
        options=options,
        partitions=partitions,
    )
    return replace(shape, inline=inline_keys(shape))


def inline_keys(shape: TableShape) -> frozenset[str]:
    """Keys that the table is made with: the primary one, on which InnoDB orders the rows, and one
    that the AUTO_INCREMENT column leads.
    """
    found = {k.name for k in shape.keys if k.primary}
    counter = next((c.name for c in shape.columns if counts(c)), None)
    if counter is not None:
        leading = [k for k in shape.keys if k.columns[:1] == (counter,)]
        if not any(k.primary for k in leading):
            leading.sort(key=lambda k: (not k.unique, len(k.parts), k.name))
            found |= {k.name for k in leading[:1]}
    return frozenset(found)


def counts(column: ColumnLine) -> bool:
    """Whether the column is AUTO_INCREMENT."""
    return any(kind == "word" and t == "AUTO_INCREMENT" for kind, t in tokens(column.text))


def _leading_name(line: str) -> tuple[str, str]:
    _kind, first = next(tokens(line))
    return unquoted(first), line[len(first) :].strip()


def _key(word: str, line: str) -> KeyLine:
    parts, rest = items(line)
    name = "PRIMARY" if word == "PRIMARY KEY" else names(line)[0]
    return KeyLine(name, word, tuple(parts), rest.rstrip())


def _foreign_key(database: str, name: str, text: str) -> ForeignKeyLine:
    own, rest = items(text)
    match = _REFERENCES.match(rest)
    if match is None:
        raise ValueError(f"a foreign key without REFERENCES: {text}")
    others, actions = items(rest[match.end() :])
    schema = unquoted(match["schema"]) if match["schema"] else database
    rules = dict(_ON.findall(actions))
    return ForeignKeyLine(
        name,
        tuple(unquoted(c) for c in own),
        TableName(schema, unquoted(match["table"])),
        tuple(unquoted(c) for c in others),
        rules.get("DELETE", ""),
        rules.get("UPDATE", ""),
    )


def _options(text: str) -> tuple[str, str]:
    place, out = 0, ""
    line = list(tokens(text))
    while place < len(line):
        kind, piece = line[place]
        if (
            kind == "word"
            and piece == "PARTITION"
            and line[place + 2 : place + 3] == [("word", "BY")]
        ):
            break
        out += piece
        place += 1
    partitions = "".join(t for _, t in line[place:]).strip()
    return _COUNTER.sub("", out).strip(), partitions
