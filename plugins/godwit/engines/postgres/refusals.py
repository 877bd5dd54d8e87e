"""What a server's complaint may show: the cause and where, never a row's value."""

from __future__ import annotations

import re
from dataclasses import dataclass

import psycopg

#: Classes of SQLSTATE whose messages quote values: data exceptions, and whatever a trigger raises.
_QUOTING = ("22", "P0")
_QUOTED = re.compile(r'"(?:[^"]|"")*"|0x[0-9a-fA-F]{2}(?: 0x[0-9a-fA-F]{2})*|\'(?:[^\']|\'\')*\'')
#: Classes of SQLSTATE that speak of a row: data, constraints, a view's check, what triggers raise,
#: and sizes that a row exceeds. Everything else is wrong with the table, or the server.
_OF_A_ROW = ("22", "23", "44", "P0", "54")
#: "COPY t, line 5, column x: "value"" — everything up to the value.
_PLACE = re.compile(r"^COPY .*?, line (\d+)(?:, column ((?:(?!: \").)*?))?(?::|$)", re.DOTALL)

_HINTS = {
    "22": "compare the column's type on both sides; correct the target's column or the mapping",
    "23": "correct the target's table: constraints beyond the row identity belong after the load",
    "28": "check the connection's login and password",
    "42": "grant what is missing, or convert the schema again",
    "53": "make room or raise the limit on the server, then run the task again",
    "55": "wait until the object is free, then run the task again",
    "57": "run the task again when the server is back",
    "08": "run the task again when the server can be reached",
}
_ANYTHING = "run the task again; if it stays, look into the server's log"


class CopyRefusedError(psycopg.DatabaseError):
    """The server's answer to a COPY, with what is safe to show apart from what isn't.

    `fields` are those of the protocol's ErrorResponse by their one-letter names.
    """

    def __init__(self, fields: dict[str, str]) -> None:
        super().__init__(fields.get("M", "the connection was lost"))
        self.fields = fields


def error_fields(body: bytes) -> dict[str, str]:
    """The fields of an ErrorResponse."""
    parts = [part for part in body.split(b"\0") if part]
    return {chr(part[0]): part[1:].decode("utf-8", "replace") for part in parts}


def lost(cause: object) -> CopyRefusedError:
    """The error of a connection that went away during a COPY."""
    return CopyRefusedError({"C": "08006", "M": f"the connection was lost: {cause}"})


@dataclass(frozen=True)
class Refusal:
    """A complaint, safe to show.

    Attributes:
        sqlstate: its code.
        reason: the message without values.
        line: line of the COPY data, counted from 1; None when the server didn't tell.
        column: the column it is about.
        constraint: the constraint it is about.
    """

    sqlstate: str
    reason: str
    line: int | None = None
    column: str | None = None
    constraint: str | None = None

    @property
    def hint(self) -> str:
        """What to do, by the code's class."""
        return _HINTS.get(self.sqlstate[:2], _ANYTHING)

    @property
    def of_a_row(self) -> bool:
        """Another row might well be accepted."""
        return self.sqlstate.startswith(_OF_A_ROW)

    @property
    def lost(self) -> bool:
        """The connection is gone, or the server is."""
        return self.sqlstate[:2] in {"08", "57"}

    @property
    def place(self) -> str:
        """`` line 5 column x``, as far as known."""
        line = f" line {self.line}" if self.line else ""
        return line + (f" column {self.column}" if self.column else "")


def refusal(error: psycopg.Error) -> Refusal:
    """What may be shown of a driver's or a COPY's error."""
    if isinstance(error, CopyRefusedError):
        fields = error.fields
    else:
        diag = error.diag
        found = {
            "C": error.sqlstate or diag.sqlstate,
            "M": diag.message_primary or (None if diag.sqlstate else str(error)),
            "W": diag.context,
            "c": diag.column_name,
            "n": diag.constraint_name,
        }
        fields = {letter: text for letter, text in found.items() if text}
    code = fields.get("C", "08006" if isinstance(error, psycopg.OperationalError) else "XX000")
    place = _PLACE.match(fields.get("W", ""))
    return Refusal(
        sqlstate=code,
        reason=f"{_without_values(code, fields.get('M', 'no message'))} (SQLSTATE {code})",
        line=int(place[1]) if place else None,
        column=fields.get("c") or (place[2] if place else None),
        constraint=fields.get("n"),
    )


def _without_values(code: str, message: str) -> str:
    text = " ".join(message.split())
    return _QUOTED.sub("…", text) if code.startswith(_QUOTING) else text
