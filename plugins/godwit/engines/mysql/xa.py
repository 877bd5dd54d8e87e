"""XA transactions: prepared in one place of the log, committed in another."""

from __future__ import annotations

import re
import struct

from godwit.engines.mysql.netting import Images, Operation
from godwit.errors import CaptureError

#: What prepared ones may hold in memory until they are committed.
HELD_BYTES = 1 << 30
_XID = re.compile(r"X'([0-9a-f]*)'\s*,\s*X'([0-9a-f]*)'\s*,\s*(\d+)", re.IGNORECASE)


def parse_statement(text: str) -> tuple[str, bytes] | None:
    """The verb of an XA statement and the xid as events have it; None when it is none."""
    match = _XID.search(text)
    if match is None:
        return None
    first, second = bytes.fromhex(match[1]), bytes.fromhex(match[2])
    xid = struct.pack("<IBB", int(match[3]), len(first), len(second)) + first + second
    return text.split(None, 2)[1].upper(), xid


class Held:
    """The changes of prepared transactions."""

    def __init__(self) -> None:
        self._operations: dict[bytes, list[Operation]] = {}
        self._bytes = 0

    def put(self, xid: bytes, operations: list[Operation], where: str) -> None:
        """Keep them until they are asked for.

        Raises:
            CaptureError: they are too many.
        """
        self._operations[xid] = operations
        self._bytes += images_bytes(operations)
        if self._bytes > HELD_BYTES:
            raise too_many(where)

    def pop(self, xid: bytes) -> list[Operation] | None:
        """They have ended; None when nobody has heard of them."""
        operations = self._operations.pop(xid, None)
        self._bytes -= images_bytes(operations or [])
        return operations


def images_bytes(operations: list[Operation]) -> int:
    """The size of their row images."""
    return sum(len(o.data) for o in operations if isinstance(o, Images))


def too_many(where: str) -> CaptureError:
    """The error for XA transactions that are larger than memory should hold."""
    return CaptureError(
        f"uncommitted XA transactions hold more than {HELD_BYTES >> 20} MB",
        where=where,
        hint="commit them or roll them back (XA RECOVER lists them); make them smaller",
    )
