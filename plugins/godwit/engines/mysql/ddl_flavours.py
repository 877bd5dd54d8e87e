"""What one flavour or version says and another cannot: replaced, and told in findings."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from godwit.engines.mysql.connection import Version
from godwit.engines.mysql.ddl_steps import Findings, shortened
from godwit.engines.mysql.names import quoted
from godwit.engines.mysql.objects_shapes import (
    CheckLine,
    ColumnLine,
    KeyLine,
    TableShape,
    counts,
)
from godwit.engines.mysql.sqltext import tokens

_ENGINE = re.compile(r"\bENGINE\s*=\s*(\w+)")
_NAME = re.compile(r"\b\w+_(?:ci|cs|bin)\b")
_UCA1400 = (10, 10, 1)
_ALIASES = (11, 4, 5)
_IGNORED_SINCE = (10, 6, 0)
#: Of an engine or a cloud of its own; they say how rows are stored.
_OPTIONS = re.compile(
    r"\s+(?:DATA DIRECTORY|INDEX DIRECTORY|TABLESPACE|CONNECTION|UNION|INSERT_METHOD|ENCRYPTION"
    r"|`?ENCRYPTED`?|`?ENCRYPTION_KEY_ID`?|SECONDARY_ENGINE|AUTOEXTEND_SIZE|ENGINE_ATTRIBUTE"
    r"|SECONDARY_ENGINE_ATTRIBUTE|COMPRESSION|`?PAGE_COMPRESSED`?|`?PAGE_COMPRESSION_LEVEL`?"
    r"|PAGE_CHECKSUM|TRANSACTIONAL)\s*=?\s*(?:'(?:[^'\\]|\\.|'')*'|\([^)]*\)|`[^`]*`|\w+)",
    re.IGNORECASE,
)
_ROW_FORMAT = re.compile(r"\s+ROW_FORMAT=(?:FIXED|PAGE|TOKUDB\w*)", re.IGNORECASE)
_COLUMN_STORAGE = re.compile(
    r"\s+(?:COLUMN_FORMAT \w+|STORAGE \w+|NOT SECONDARY|COMPRESSED(?:=\w+)?"
    r"|WITHOUT SYSTEM VERSIONING|ENGINE_ATTRIBUTE '[^']*'|SECONDARY_ENGINE_ATTRIBUTE '[^']*')\b"
)
_SRID = re.compile(r"\s+SRID (\d+)")
_PARSER = re.compile(r"\s+WITH PARSER `?\w+`?")
_PARTITION_PLACE = re.compile(
    r"\s+(?:ENGINE|DATA DIRECTORY|INDEX DIRECTORY|TABLESPACE)\s*=\s*(?:'[^']*'|`[^`]*`|\w+)"
)
_MARIADB_TYPES = {
    "uuid": "char(36) CHARACTER SET ascii COLLATE ascii_bin",
    "inet4": "varchar(15) CHARACTER SET ascii COLLATE ascii_bin",
    "inet6": "varchar(45) CHARACTER SET ascii COLLATE ascii_bin",
    "xmltype": "longtext CHARACTER SET utf8mb4 COLLATE utf8mb4_0900_bin",
}
_LITERAL = re.compile(
    r"^(?:NULL|-?[\d.]+(?:e[+-]?\d+)?|b'[01]*'|0x[0-9a-f]*|x'[0-9a-f]*'|TRUE|FALSE"
    r"|'(?:[^'\\]|\\.|'')*'|current_timestamp(?:\(\d*\))?)$",
    re.IGNORECASE | re.DOTALL,
)
_LARGE = re.compile(
    r"^(?:tiny|medium|long)?(?:text|blob)\b|^json\b|^(?:multi)?(?:point|linestring|polygon)|^geom"
)


def adapted(
    shape: TableShape,
    flavour: str,
    version: Version,
    settings: Mapping[str, Any],
    findings: Findings,
) -> TableShape:
    """The table as a server of this version understands it; what changes is found."""
    tell = _Telling(shape, findings)
    shape = replace(
        shape,
        options=_options(shape.options, settings, tell),
        partitions=_PARTITION_PLACE.sub("", shape.partitions),
        columns=tuple(replace(c, text=_COLUMN_STORAGE.sub("", c.text)) for c in shape.columns),
    )
    if flavour and flavour != version.flavour:
        shape = _to_mariadb(shape, version, tell) if version.mariadb else _to_mysql(shape, tell)
    return _with_counter_key(_collations(shape, version, tell), tell)


def _with_counter_key(shape: TableShape, tell: _Telling) -> TableShape:
    """MyISAM counts within the columns before; to InnoDB the counter leads a key."""
    counter = next((c.name for c in shape.columns if counts(c)), None)
    if counter is None or any(k.columns[:1] == (counter,) for k in shape.keys):
        return shape
    reason = f"column {counter} numbers rows within other columns; here it does so over all rows"
    tell("index-added", reason, "number the rows in the application")
    key = KeyLine(shortened(f"{counter}_counter"), "KEY", (quoted(counter),))
    return replace(shape, keys=(*shape.keys, key))


class _Telling:
    """Findings about one table."""

    def __init__(self, shape: TableShape, findings: Findings) -> None:
        self._name = shape.full_name
        self._findings = findings

    def __call__(self, code: str, reason: str, hint: str = "") -> None:
        self._findings.warn(code, self._name, reason, hint)

    def note(self, code: str, reason: str) -> None:
        self._findings.note(code, self._name, reason)


def _options(options: str, settings: Mapping[str, Any], tell: _Telling) -> str:
    engine = _ENGINE.search(options)
    if engine and engine[1].lower() != "innodb" and settings.get("engine") != "keep":
        reason = f"the table is made with InnoDB instead of {engine[1]}: rows and the state of the"
        reason += " migration are committed together"
        tell("engine-replaced", reason, "change the engine after cutover if you need it")
        options = options[: engine.start()] + "ENGINE=InnoDB" + options[engine.end() :]
    if lost := [m.strip() for m in re.findall(_OPTIONS, options)]:
        words = ", ".join(w.split("=")[0].strip() for w in lost)
        tell("option-left-out", f"how the source stores the table is not brought over: {words}")
    return _ROW_FORMAT.sub("", _OPTIONS.sub("", options))


# -- collations


def own_spelling(text: str, version: Version) -> str:
    """Text with collations that the server has."""
    return _NAME.sub(lambda m: collation(m[0], version), text)


def _collations(shape: TableShape, version: Version, tell: _Telling) -> TableShape:
    replaced: dict[str, str] = {}

    def change(text: str) -> str:
        out = []
        for kind, piece in tokens(text):
            new = collation(piece, version) if kind == "word" and _NAME.fullmatch(piece) else piece
            if new != piece:
                replaced[piece] = new
            out.append(new)
        return "".join(out)

    shape = replace(
        shape,
        options=change(shape.options),
        columns=tuple(replace(c, text=change(c.text)) for c in shape.columns),
        checks=tuple(replace(c, text=change(c.text)) for c in shape.checks),
    )
    for old, new in replaced.items():
        tell(
            "collation-replaced", f"collation {old} becomes {new}, the nearest that the target has"
        )
    return shape


def collation(name: str, version: Version) -> str:
    """The collation itself where the server has it, else the nearest one."""
    if version.mariadb:
        return _mariadb_collation(name, version)
    if "uca1400" in name:
        ending = "as_cs" if name.endswith("as_cs") else "as_ci" if "as_ci" in name else "ai_ci"
        charset = name.partition("uca1400")[0].rstrip("_")
        if charset in {"", "utf8mb4"}:
            return f"utf8mb4_0900_{ending}"
        if charset == "utf8mb3":
            return "utf8mb3_unicode_ci"
        # utf16, utf32, ucs2: with accents, nothing between these two.
        return f"{charset}_unicode_520_ci" if ending == "ai_ci" else f"{charset}_bin"
    if name == "utf8mb4_nopad_bin":
        return "utf8mb4_0900_bin" if version.since(mysql=(8, 0, 17)) else "utf8mb4_bin"
    return name.replace("_nopad_", "_")


def _mariadb_collation(name: str, version: Version) -> str:
    if "_0900_" not in name or version.since(mariadb=_ALIASES):
        return name
    if name == "utf8mb4_0900_bin":
        return "utf8mb4_nopad_bin"
    ending = name.rsplit("_0900_", 1)[1]
    if version.since(mariadb=_UCA1400):
        return f"utf8mb4_uca1400_nopad_{ending}"
    return "utf8mb4_unicode_520_nopad_ci" if ending != "as_cs" else "utf8mb4_nopad_bin"


# -- MySQL → MariaDB


def _to_mariadb(shape: TableShape, version: Version, tell: _Telling) -> TableShape:
    return replace(
        shape,
        columns=tuple(_mariadb_column(c, version, tell) for c in shape.columns),
        keys=tuple(k for key in shape.keys if (k := _mariadb_key(key, version, tell))),
        checks=tuple(c for c in shape.checks if _enforced(c, tell)),
    )


def _mariadb_column(column: ColumnLine, version: Version, tell: _Telling) -> ColumnLine:
    text = re.sub(r"^geomcollection\b", "geometrycollection", column.text)
    if srid := _SRID.search(text):
        tell("srid-left-out", f"column {column.name} would take any SRID, not only {srid[1]}")
        text = _SRID.sub("", text)
    if text.startswith("vector(") and not version.since(mariadb=(11, 7, 1)):
        size = int(text.removeprefix("vector(").partition(")")[0])
        tell("type-replaced", f"column {column.name}: vector becomes varbinary with the same bytes")
        text = f"varbinary({4 * size}){text.partition(')')[2]}"
    needs = " NOT NULL" in text and " DEFAULT " not in text and " AUTO_INCREMENT" not in text
    if text.endswith(" INVISIBLE") and needs:
        tell("invisible-column", f"column {column.name} becomes visible: it has no default")
        text = text.removesuffix(" INVISIBLE")
    return replace(column, text=text)


def _mariadb_key(key: KeyLine, version: Version, tell: _Telling) -> KeyLine | None:
    if any(not p.startswith("`") for p in key.parts):
        reason = f"index {key.name} is over an expression, which MariaDB does not have"
        tell("index-left-out", reason, "index a computed column instead")
        return None
    if _PARSER.search(key.rest):
        tell("parser-left-out", f"index {key.name}: its full-text parser is not on MariaDB")
    hidden = " IGNORED" if version.since(mariadb=_IGNORED_SINCE) else ""
    rest = _PARSER.sub("", key.rest).replace(" INVISIBLE", hidden)
    return replace(key, rest=rest)


def _enforced(check: CheckLine, tell: _Telling) -> bool:
    if check.text.endswith(" NOT ENFORCED"):
        tell("check-left-out", f"check {check.name} is not enforced on the source; MariaDB would")
        return False
    return True


# -- MariaDB → MySQL


def _to_mysql(shape: TableShape, tell: _Telling) -> TableShape:
    if shape.periods or "WITH SYSTEM VERSIONING" in shape.options:
        tell("periods-left-out", "MySQL has no periods and no system versioning")
    partitions = shape.partitions
    if "SYSTEM_TIME" in partitions:
        tell("partitions-left-out", "MySQL cannot partition by SYSTEM_TIME")
        partitions = ""
    columns = [_mysql_column(c, tell) for c in shape.columns]
    return replace(
        shape,
        columns=tuple(c for c in columns if c),
        keys=tuple(k for key in shape.keys if (k := _mysql_key(key, tell))),
        periods=(),
        options=shape.options.replace(" WITH SYSTEM VERSIONING", ""),
        partitions=partitions,
    )


def _mysql_column(column: ColumnLine, tell: _Telling) -> ColumnLine | None:
    text = column.text
    if re.search(r"GENERATED ALWAYS AS ROW (?:START|END)", text):
        tell("column-left-out", f"column {column.name} belongs to the system's versions")
        return None
    word = re.split(r"[\s(]", text, maxsplit=1)[0]
    if word in _MARIADB_TYPES:
        new = _MARIADB_TYPES[word]
        tell("type-replaced", f"column {column.name}: {word} becomes {new.partition(' ')[0]}")
        text = new + text.removeprefix(word)
    head, default, tail = split_default(text)
    if default is None or (_LITERAL.match(default) and not _needs_brackets(text, default)):
        return replace(column, text=text)
    if "nextval(" in default.lower():
        tell(
            "default-left-out",
            f"column {column.name} takes its default from a sequence, which MySQL does not have",
            "use AUTO_INCREMENT or fill the column in a trigger",
        )
        return replace(column, text=f"{head}{tail}")
    bare = default[1:-1] if default.startswith("(") and default.endswith(")") else default
    return replace(column, text=f"{head} DEFAULT ({bare}){tail}")


def _needs_brackets(text: str, default: str) -> bool:
    return _LARGE.match(text) is not None and default.upper() != "NULL"


def split_default(text: str) -> tuple[str, str | None, str]:
    """A column's text before its default, the default's expression, and what follows."""
    line = list(tokens(text))
    start = next((i for i, t in enumerate(line) if t == ("word", "DEFAULT")), None)
    if start is None:
        return text, None, ""
    depth = 0
    end = start + 2
    words = {"COMMENT", "CHECK", "INVISIBLE", "ON", "REF_SYSTEM_ID", "AUTO_INCREMENT"}
    while end < len(line):
        kind, piece = line[end]
        if kind == "other" and piece in "()":
            depth += 1 if piece == "(" else -1
        if depth == 0 and kind == "word" and piece in words:
            break
        end += 1
    expression = "".join(t for _, t in line[start + 2 : end]).strip()
    tail = "".join(t for _, t in line[end:])
    head = "".join(t for _, t in line[:start]).rstrip()
    return head, expression, f" {tail}" if tail else ""


def _mysql_key(key: KeyLine, tell: _Telling) -> KeyLine | None:
    if key.word == "UNIQUE KEY" and " USING HASH" in key.rest:
        reason = f"unique key {key.name} may be over values longer than an index of MySQL takes"
        tell("index-left-out", reason, "make a key over a hash of them, a computed column")
        return None
    return replace(key, rest=key.rest.replace(" IGNORED", " INVISIBLE"))
