"""MySQL's binary JSON as the text the server prints.

The layout: a type byte, then a value. Objects and arrays hold entries whose offsets count from
behind their type byte, two bytes wide (small) or four (large); short values lie in the entry. The
text follows the server's `CAST(… AS CHAR)`: a blank behind commas and colons, keys in stored
order, its own spelling of doubles. The compiled twin lives in ``_decode.pyx``.
"""

from __future__ import annotations

import base64
import struct

from godwit.engines.mysql.value_texts import decimal_text, duration_text, moment_text

_LITERALS = {0: b"null", 1: b"true", 2: b"false"}
_NUMBERS = {
    5: struct.Struct("<h"),
    6: struct.Struct("<H"),
    7: struct.Struct("<i"),
    8: struct.Struct("<I"),
    9: struct.Struct("<q"),
    10: struct.Struct("<Q"),
}
_LITERAL, _DOUBLE, _STRING, _OPAQUE = 4, 11, 12, 15
#: Most zeros around the point that the server writes without an exponent.
_PLAIN_DIGITS = 15
_DEEPEST = 200
_BASE64_LINE = 76
_ESCAPES = {
    ord('"'): b'\\"',
    ord("\\"): b"\\\\",
    8: b"\\b",
    9: b"\\t",
    10: b"\\n",
    12: b"\\f",
    13: b"\\r",
}


class BrokenJsonError(ValueError):
    """The bytes are no JSON value."""


def json_text(data: bytes) -> bytes:
    """The document's text in UTF-8 (which is not checked)."""
    if not data:
        return b"null"  # rows that were there before ALTER TABLE … ADD … JSON NOT NULL
    out = bytearray()
    try:
        _value(out, data, data[0], 1, 0)
    except (IndexError, ValueError, struct.error, KeyError):
        raise BrokenJsonError from None
    return bytes(out)


def _value(out: bytearray, data: bytes, kind: int, p: int, depth: int) -> None:
    if depth > _DEEPEST:
        raise BrokenJsonError
    if kind <= 3:
        _container(out, data, kind, p, depth)
    elif kind == _LITERAL:
        out += _LITERALS[data[p]]
    elif kind in _NUMBERS:
        out += str(_NUMBERS[kind].unpack_from(data, p)[0]).encode()
    elif kind == _DOUBLE:
        out += double_text(struct.unpack_from("<d", data, p)[0])
    elif kind == _STRING:
        size, p = _length(data, p)
        out += quoted(_bytes(data, p, size))
    elif kind == _OPAQUE:
        size, start = _length(data, p + 1)
        out += _opaque(data[p], _bytes(data, start, size))
    else:
        raise BrokenJsonError


def _container(out: bytearray, data: bytes, kind: int, p: int, depth: int) -> None:
    wide = 4 if kind & 1 else 2
    is_object = kind <= 1
    count = _number(data, p, wide)
    keys = p + 2 * wide
    values = keys + count * (wide + 2) * is_object
    if values + count * (wide + 1) > len(data):
        raise BrokenJsonError
    out += b"{" if is_object else b"["
    for i in range(count):
        if i:
            out += b", "
        if is_object:
            entry = keys + i * (wide + 2)
            size = _number(data, entry + wide, 2)
            out += quoted(_bytes(data, p + _number(data, entry, wide), size)) + b": "
        entry = values + i * (wide + 1)
        inner = data[entry]
        inlined = inner in (_LITERAL, 5, 6) or (wide == 4 and inner in (7, 8))
        at = entry + 1 if inlined else p + _number(data, entry + 1, wide)
        _value(out, data, inner, at, depth + 1)
    out += b"}" if is_object else b"]"


def _number(data: bytes, p: int, size: int) -> int:
    return int.from_bytes(_bytes(data, p, size), "little")


def _bytes(data: bytes, p: int, size: int) -> bytes:
    if p + size > len(data):
        raise BrokenJsonError
    return data[p : p + size]


def _length(data: bytes, p: int) -> tuple[int, int]:
    size = shift = 0
    while shift < 35:
        byte = data[p]
        p += 1
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            return size, p
        shift += 7
    raise BrokenJsonError


def quoted(value: bytes) -> bytes:
    """A string with the server's escapes."""
    if value.isalnum():
        return b'"' + value + b'"'
    out = bytearray(b'"')
    for byte in value:
        if byte in _ESCAPES:
            out += _ESCAPES[byte]
        elif byte < 0x20:
            out += b"\\u%04x" % byte
        else:
            out.append(byte)
    return bytes(out + b'"')


def double_text(number: float) -> bytes:
    """A double as the server's JSON has it: shortest digits, exponents only when far away."""
    mantissa, _, exponent = f"{number!r}".partition("e")
    sign, mantissa = ("-", mantissa[1:]) if mantissa.startswith("-") else ("", mantissa)
    whole, _, fraction = mantissa.partition(".")
    digits = (whole + fraction).lstrip("0")
    point = len(whole) + int(exponent or 0) - (len(whole + fraction) - len(digits))
    digits = digits.rstrip("0")
    if not digits:
        return f"{sign}0.0".encode()
    if point > -_PLAIN_DIGITS and (point <= _PLAIN_DIGITS or point < len(digits)):
        if point <= 0:
            text = "0." + "0" * -point + digits
        elif point >= len(digits):
            text = digits + "0" * (point - len(digits)) + ".0"
        else:
            text = digits[:point] + "." + digits[point:]
    else:
        tail = "." + digits[1:] if len(digits) > 1 else ""
        text = f"{digits[0]}{tail}e{point - 1}"
    return (sign + text).encode()


def _opaque(kind: int, data: bytes) -> bytes:
    if kind == 246:
        return decimal_text(_bytes(data, 2, len(data) - 2), data[0], data[1])
    if kind in (7, 10, 11, 12):
        packed = struct.unpack("<q", data)[0]
        return b'"' + _temporal(kind, packed) + b'"'
    encoded = base64.b64encode(data)
    lines = [encoded[i : i + _BASE64_LINE] for i in range(0, len(encoded), _BASE64_LINE)]
    return quoted(b"base64:type%d:%s" % (kind, b"\n".join(lines)))


def _temporal(kind: int, packed: int) -> bytes:
    whole, micros = divmod(abs(packed), 1 << 24)
    seconds = (whole >> 12 & 0x3FF) * 3600 + (whole >> 6 & 0x3F) * 60 + (whole & 0x3F)
    if kind == 11:
        total = seconds * 1_000_000 + micros
        return duration_text(-total if packed < 0 else total, 6)
    year, month = divmod(whole >> 22, 13)
    seconds = (whole >> 12 & 0x1F) * 3600 + (whole >> 6 & 0x3F) * 60 + (whole & 0x3F)
    digits = -1 if kind == 10 else 6
    return moment_text(year, month, whole >> 17 & 0x1F, seconds * 1_000_000 + micros, digits)
