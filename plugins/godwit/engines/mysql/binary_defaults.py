"""Defaults of binary columns: information_schema cuts them at a zero byte (MySQL) or shows question
marks for what is no text (MariaDB), so they are taken from SHOW CREATE TABLE, as bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

import pymysql

from godwit.engines.mysql.connection import Session
from godwit.engines.mysql.names import quoted

_KINDS = frozenset({"binary", "varbinary"})
_LITERAL = rb" [^\n']*? DEFAULT (?:'((?:[^'\\]|\\.|'')*)'|0x([0-9A-Fa-f]*))"
_ESCAPED = re.compile(rb"''|\\(.)", re.DOTALL)
_MEANT = {b"0": b"\0", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"b": b"\b", b"Z": b"\x1a"}


def put_right(
    session: Session, database: str, columns: Mapping[str, Iterable[dict[str, Any]]]
) -> None:
    """Write the literals of binary columns as hexadecimal numbers into their rows of COLUMNS.

    Those of a table that may not be read stay as they are.
    """
    for table, rows in columns.items():
        doubtful = [row for row in rows if _is_literal(row)]
        if not doubtful:
            continue
        with suppress(pymysql.MySQLError):
            text = _shown(session, database, table)
            for row in doubtful:
                row["COLUMN_DEFAULT"] = _literal(text, row["COLUMN_NAME"]) or row["COLUMN_DEFAULT"]


def _is_literal(row: dict[str, Any]) -> bool:
    # MariaDB shows a literal in its quotes, MySQL as a number.
    return row["DATA_TYPE"].lower() in _KINDS and str(row["COLUMN_DEFAULT"]).startswith(("'", "0x"))


def _shown(session: Session, database: str, table: str) -> bytes:
    session.use_unicode = False
    try:
        row = session.row(f"SHOW CREATE TABLE {quoted(database, table)}") or (b"", b"")
    finally:
        session.use_unicode = True
    return bytes(row[1])


def _literal(text: bytes, column: str) -> str:
    """The column's default as the number of its bytes; empty when it is no literal."""
    name = re.escape(quoted(column).encode())
    found = re.search(rb"^  " + name + _LITERAL, text, re.MULTILINE)
    if found is None:
        return ""
    if found[2] is not None:
        return f"0x{found[2].decode()}"
    value = _ESCAPED.sub(lambda m: _MEANT.get(m[1], m[1]) if m[1] else b"'", found[1])
    return f"0x{value.hex()}" if value else "''"
