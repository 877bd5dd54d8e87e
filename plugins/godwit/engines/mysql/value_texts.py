"""Single values in the servers' spelling. Slow and plain: the compiled code has its own."""

from __future__ import annotations

import uuid

_DIGIT_BYTES = (0, 1, 1, 2, 2, 3, 3, 4, 4, 4)
_SECOND = 1_000_000


def decimal_text(packed: bytes, precision: int, scale: int) -> bytes:
    """A packed decimal's digits; raises IndexError when there are too few bytes, and
    ValueError when they are no number.
    """
    negative = not packed[0] & 0x80
    body = bytearray(packed)
    body[0] ^= 0x80
    if negative:
        body = bytearray(byte ^ 0xFF for byte in body)
    whole_digits = precision - scale
    groups = [whole_digits % 9] + [9] * (whole_digits // 9)
    whole, p = _digits(body, 0, groups)
    fraction, _ = _digits(body, p, [9] * (scale // 9) + [scale % 9])
    text = whole.lstrip("0") or "0"
    if scale:
        text += "." + fraction
    return (("-" if negative else "") + text).encode()


def _digits(body: bytes | bytearray, p: int, groups: list[int]) -> tuple[str, int]:
    text = ""
    for digits in groups:
        if not digits:
            continue
        size = _DIGIT_BYTES[digits]
        if p + size > len(body):
            raise IndexError
        number = int.from_bytes(body[p : p + size], "big")
        if number >= 10**digits:
            raise ValueError("more digits than there can be")
        text += f"{number:0{digits}d}"
        p += size
    return text, p


def fraction_text(micros: int, digits: int) -> str:
    """``.123`` with so many digits, nothing with none."""
    return f".{micros:06d}"[: digits + 1] if digits else ""


def duration_text(micros: int, digits: int) -> bytes:
    """E.g. ``-838:59:59.123``."""
    sign = "-" if micros < 0 else ""
    seconds, rest = divmod(abs(micros), _SECOND)
    hours, seconds = divmod(seconds, 3600)
    minutes, seconds = divmod(seconds, 60)
    text = f"{sign}{hours:02d}:{minutes:02d}:{seconds:02d}{fraction_text(rest, digits)}"
    return text.encode()


def moment_text(year: int, month: int, day: int, micros: int, digits: int) -> bytes:
    """``2024-02-29 23:59:59.123``; only the date when `digits` is negative."""
    text = f"{year:04d}-{month:02d}-{day:02d}"
    if digits < 0:
        return text.encode()
    return f"{text} ".encode() + duration_text(micros, digits)


def bits_text(value: bytes, bits: int) -> bytes:
    """The last `bits` bits, the first bit first."""
    return f"{int.from_bytes(value, 'big'):0{bits}b}"[-bits:].encode() if bits else b""


def uuid_text(value: bytes) -> bytes:
    """Lower case with hyphens, from the bytes in the log."""
    return str(uuid.UUID(bytes=value.ljust(16, b"\0"))).encode()


def inet4_text(value: bytes) -> bytes:
    """E.g. ``10.1.2.3``."""
    return ".".join(map(str, value.ljust(4, b"\0"))).encode()


def inet6_text(value: bytes) -> bytes:
    """As MariaDB writes it: the first of the longest runs of zeros is left out, even a run of one,
    and IPv4 addresses inside are written as such.
    """
    value = value.ljust(16, b"\0")
    words = [value[i] << 8 | value[i + 1] for i in range(0, 16, 2)]
    start, size = _longest_gap(words)
    text, i = "", 0
    while i < 8:
        if i == start:
            text += "::" if i == 0 else ":"
            i += size
        elif i == 6 and start == 0 and (size == 6 or (size == 5 and words[5] == 0xFFFF)):
            text += ".".join(map(str, value[12:]))
            break
        else:
            text += f"{words[i]:x}" + ("" if i == 7 else ":")
            i += 1
    return text.encode()


def _longest_gap(words: list[int]) -> tuple[int, int]:
    start, size, i = -1, 0, 0
    while i < 8:
        first = i
        while i < 8 and words[i] == 0:
            i += 1
        if i - first > size:
            start, size = first, i - first
        i += 1
    return start, size
