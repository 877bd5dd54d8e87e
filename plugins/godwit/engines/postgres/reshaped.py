"""A captured table has another shape: where in the stream that is, and before which transaction."""

from __future__ import annotations

import struct

from godwit.engines.postgres.frames import MESSAGE, Scan, scan
from godwit.model.changes import ShapeChange

_U4 = struct.Struct(">I").unpack_from
_BEGIN, _RELATION, _TRUNCATE = b"BRT"
_ROWS = frozenset(b"IUD")


class ReshapedError(Exception):
    """Ends netting out where a table's shape is found to have changed.

    Args:
        change: what is to be told.
        message: the shape is told by this Relation message of those read, the first being 1; 0 =
            it became known before, and its first change that counts is one of
        xid: this transaction, of
        relation: this relation.
    """

    def __init__(
        self, change: ShapeChange, message: int = 0, xid: int = 0, relation: int = 0
    ) -> None:
        super().__init__(change.description)
        self.change = change
        self._message, self._xid, self._relation = message, xid, relation

    def before(self, raw: bytes, xid: int) -> Scan:
        """What of these frames lies before it; `xid`: the transaction they begin in."""
        place = self._place(raw, xid)
        return scan(memoryview(raw), 0, place) if place else Scan()

    def _place(self, raw: bytes, xid: int) -> int:
        p = messages = 0
        while p < len(raw):
            if raw[p + 5] == 0x77:
                kind = raw[p + MESSAGE]
                if kind == _BEGIN:
                    xid = _U4(raw, p + MESSAGE + 17)[0]
                elif kind == _RELATION:
                    messages += 1
                    if messages == self._message:
                        return p
                elif not self._message and xid == self._xid and self._concerns(raw, p, kind):
                    return p
            p += 1 + _U4(raw, p + 1)[0]
        return 0

    def _concerns(self, raw: bytes, p: int, kind: int) -> bool:
        at = p + MESSAGE + 1
        if kind in _ROWS:
            return bool(_U4(raw, at)[0] == self._relation)
        if kind != _TRUNCATE:
            return False
        return self._relation in struct.unpack_from(f">{_U4(raw, at)[0]}I", raw, at + 5)
