"""What a server's complaint may show: the cause and where, never a row's value.

The driver keeps the number of an error and its text, not the SQLSTATE, so numbers decide. The two
flavours share those below 1800 or so; above, each has its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

import pymysql

#: The connection or the server went away, or the server is going.
_LOST = frozenset(
    {0, 1053, 1077, 1079, 1080, 1152, 1158, 1159, 1160, 1161, 1184, 1927}
    | {2002, 2003, 2006, 2012, 2013, 2014, 2027, 2055, 4031}
)
#: The transaction lost against another one, or waited too long: the very same may work next time.
_TRANSIENT = frozenset({1020, 1205, 1213, 1412, 1613, 1614, 1637, 3058, 3101})
#: A value does not fit its column.
_DATA = frozenset(
    {1118, 1153, 1261, 1262, 1264, 1265, 1292, 1300, 1301, 1365, 1366, 1367, 1406, 1411, 1416}
    | {1425, 1426, 1441, 1690, 3037, 3140, 3141, 3142, 3143, 3144, 3145, 3146, 3147, 3148, 3149}
    | {3150, 3151, 3152, 3153, 3154, 3155, 3156, 3157, 3158, 3513, 3516, 3617, 3643, 3732, 3854}
    | {4035, 4036, 4037, 4038, 4039, 4078, 4079}
)
#: A row breaks a constraint, or a trigger refuses it.
_CONSTRAINT = frozenset(
    {1022, 1048, 1062, 1169, 1216, 1217, 1263, 1369, 1451, 1452, 1467, 1526, 1557, 1563, 1586}
    | {1591, 1644, 1748, 1761, 1762, 1859, 3819, 4025}
)
_LIMIT = frozenset({1021, 1023, 1037, 1038, 1040, 1041, 1114, 1203, 1206, 1226, 3019, 3635})
_RIGHTS = frozenset({1044, 1045, 1142, 1143, 1227, 1290, 1370, 1396, 1410, 1698, 1792, 1836})
_MISSING = frozenset({1049, 1051, 1054, 1091, 1109, 1146, 1176, 1932, 1964})

_HINTS = (
    (
        frozenset({1153, 1301}),
        "raise max_allowed_packet on the target, or switch local_infile on: no such limit there",
    ),
    (_DATA, "compare the column's type on both sides; correct the target's column or the mapping"),
    (
        _CONSTRAINT,
        "correct the target's table: constraints beyond the row identity belong after the load",
    ),
    (_RIGHTS, "grant what is missing, or lift the server's read-only mode"),
    (_MISSING, "convert the schema again"),
    (_LIMIT, "make room or raise the limit on the server, then run the task again"),
    (_TRANSIENT, "run the task again when the rows or the table are free"),
    (_LOST, "run the task again when the server can be reached"),
)
#: A check constraint is violated: MySQL, MariaDB.
_CHECKS = frozenset({3819, 4025})
#: MySQL itself refuses a text as JSON, or its depth.
_NO_JSON = frozenset({3140, 3141, 3157})
_JSON = (
    "a document that the source takes for JSON is none to the target (a number beyond doubles, "
    "half a surrogate, nested deeper than 100): the target's setting json: text makes no such check"
)
_ANYTHING = "run the task again; if it stays, look into the server's log"

#: "Duplicate entry '…' for key 't.name'": the value may hold quotes itself, the name comes last.
_KEY = re.compile(r"^(Duplicate entry )'.*'( for key '[^']*')$", re.DOTALL)
#: "Incorrect date value: '…' for column `d`.`t`.`c` at row 7", and its like.
_COLUMN = re.compile(
    r"^(?P<what>[^'\"]*?)(?:: )?(?:['\"].*['\"])? ?"
    r"for column (?P<column>.+?)(?: at row (?P<row>\d+))?$",
    re.DOTALL,
)
_ROW = re.compile(r" at row (\d+)$")
_CHECK = re.compile(r"(?:CONSTRAINT|constraint) [`'](?:[^`']+`?\.)*`?([^`']+)[`']")
_QUOTED = re.compile(r"['\"].*['\"]", re.DOTALL)
#: Numbers whose texts name objects only.
_NAMES_ONLY = (
    _RIGHTS | _MISSING | _LOST | _TRANSIENT | _LIMIT | {1048, 1263, 1364, 1406, 1264, 1265}
)


class WarnedError(pymysql.err.DataError):  # type: ignore[misc]  # the driver has no types
    """A statement that succeeded with warnings: something was left out or bent on the way in.

    LOAD DATA LOCAL never fails for a row: it skips duplicates, cuts texts, makes zeros of what is
    no number, and warns. `args` are number and text of the first warning, as for any other error.
    """


@dataclass(frozen=True)
class Refusal:
    """A complaint, safe to show.

    Attributes:
        code: the server's (or the client library's) number.
        reason: the message without values.
        line: the row of the statement it is about, counted from 1; None when not told.
        column: the column it is about.
        constraint: the key or constraint it is about.
    """

    code: int
    reason: str
    line: int | None = None
    column: str | None = None
    constraint: str | None = None

    @property
    def hint(self) -> str:
        """What to do, by the kind of number."""
        checked = self.code in _CHECKS and (self.constraint or "").endswith("_json")
        if checked or self.code in _NO_JSON:
            return _JSON
        return next((hint for codes, hint in _HINTS if self.code in codes), _ANYTHING)

    @property
    def of_a_row(self) -> bool:
        """Another row might well be accepted."""
        return self.code in _DATA or self.code in _CONSTRAINT

    @property
    def of_a_value(self) -> bool:
        """A value doesn't fit its column."""
        return self.code in _DATA

    @property
    def lost(self) -> bool:
        """The connection is gone, or the server is."""
        return self.code in _LOST

    @property
    def transient(self) -> bool:
        """The same transaction may succeed when it is tried again."""
        return self.code in _TRANSIENT

    @property
    def place(self) -> str:
        """`` line 5 column x``, as far as known."""
        line = f" line {self.line}" if self.line else ""
        return line + (f" column {self.column}" if self.column else "")


def refusal(error: Exception) -> Refusal:
    """What may be shown of a driver's error; OSErrors of its socket count as a lost connection."""
    number, message = _told(error)
    column = _COLUMN.match(message)
    row = _ROW.search(message)
    key = _KEY.match(message)
    check = _CHECK.search(message)
    constraint = None
    if key:
        constraint = key[2].rpartition("'")[0].rpartition("'")[2]
    elif number in _CONSTRAINT and check:
        constraint = check[1]
    return Refusal(
        code=number,
        reason=f"{_without_values(number, message)} (error {number})",
        line=int(row[1]) if row else None,
        column=_last_name(column["column"]) if column else None,
        constraint=constraint,
    )


def _told(error: Exception) -> tuple[int, str]:
    args = error.args
    if isinstance(error, pymysql.err.MySQLError) and args and isinstance(args[0], int):
        text = " ".join(str(args[1]).split()) if len(args) > 1 else ""
        return args[0], text or "the connection is closed"
    if isinstance(error, pymysql.err.MySQLError):
        return 0, str(error) or "the connection is closed"
    return 2013, f"the connection was lost ({type(error).__name__})"


def _last_name(names: str) -> str:
    return re.split(r"[`']?\.[`']?", names.strip("`' "))[-1]


def _without_values(number: int, message: str) -> str:
    if key := _KEY.match(message):
        return f"{key[1]}…{key[2]}"
    if (column := _COLUMN.match(message)) and number in _DATA | _CONSTRAINT:
        row = f" at row {column['row']}" if column["row"] else ""
        return f"{column['what'].rstrip(': ')} for column {column['column']}{row}"
    if number in _NAMES_ONLY:
        return message
    if number in _CONSTRAINT and _CHECK.search(message) and number != 1644:
        return message.partition("(")[0].strip() if "(" in message else message
    return _QUOTED.sub("…", message)
