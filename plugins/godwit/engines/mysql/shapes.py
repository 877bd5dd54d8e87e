"""Geometry in the servers' own bytes: four of the SRID, then little-endian WKB."""

from __future__ import annotations

import struct

_SRID, _Z, _M = 0x20000000, 0x80000000, 0x40000000
_NONE = b"\0\0\0\0"
_POINT, _LINE, _POLYGON, _LAST = 1, 2, 3, 7


def stored_shape(ewkb: bytes) -> bytes:
    """What the server keeps of an EWKB.

    Raises:
        ValueError: it has more than two dimensions, or is none; the text ends a sentence.
    """
    if len(ewkb) < 5:
        raise ValueError("is no well-known binary")
    if ewkb[0] == 1:
        (kind,) = struct.unpack_from("<I", ewkb, 1)
        if _POINT <= kind <= _POLYGON:
            return _NONE + ewkb
        if _POINT <= kind ^ _SRID <= _POLYGON and len(ewkb) > 9:
            return ewkb[5:9] + b"\x01" + struct.pack("<I", kind ^ _SRID) + ewkb[9:]
    try:
        return _Rewriter(ewkb).whole()
    except struct.error:
        raise ValueError("is no well-known binary") from None


class _Rewriter:
    """Writes a shape anew, whatever its byte order."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0
        self._srid = 0

    def whole(self) -> bytes:
        shape = self._shape()
        if self._at != len(self._data):
            raise ValueError("is no well-known binary")
        return struct.pack("<I", self._srid) + shape

    def _number(self, order: str) -> int:
        (number,) = struct.unpack_from(order + "I", self._data, self._at)
        self._at += 4
        return int(number)

    def _points(self, order: str, count: int) -> bytes:
        values = struct.unpack_from(f"{order}{2 * count}d", self._data, self._at)
        self._at += 16 * count
        return struct.pack(f"<{2 * count}d", *values)

    def _counted(self, order: str) -> tuple[int, bytes]:
        count = self._number(order)
        if count > len(self._data):
            raise ValueError("is no well-known binary")
        return count, struct.pack("<I", count)

    def _shape(self) -> bytes:
        order = "<" if self._data[self._at : self._at + 1] == b"\x01" else ">"
        self._at += 1
        kind = self._number(order)
        if kind & (_Z | _M) or 1000 < kind & 0xFFFF < 4000:
            raise ValueError("has more than two dimensions")
        if kind & _SRID:
            self._srid = self._number(order)
            kind ^= _SRID
        if not _POINT <= kind <= _LAST:
            raise ValueError("is of a type that the server doesn't know")
        head = b"\x01" + struct.pack("<I", kind)
        if kind == _POINT:
            return head + self._points(order, 1)
        if kind == _LINE:
            count, number = self._counted(order)
            return head + number + self._points(order, count)
        parts, number = self._counted(order)
        pieces = [head, number]
        for _ in range(parts):
            if kind == _POLYGON:
                count, points = self._counted(order)
                pieces += (points, self._points(order, count))
            else:
                pieces.append(self._shape())
        return b"".join(pieces)
