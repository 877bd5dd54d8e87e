"""Columns of bytes laid side by side as lines: the text that LOAD DATA reads.

The one thing the load does per row. It exists twice: here by way of Arrow, as the reference, and
compiled in ``_lines.pyx``; `lines` is the compiled one where the extension could be built.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pyarrow as pa
import pyarrow.compute as pc

_BYTES = pa.large_binary()
#: The escape sign first, or it would escape itself.
_ESCAPES = ((b"\\", b"\\\\"), (b"\t", b"\\t"), (b"\n", b"\\n"))


def lines_python(columns: Sequence[pa.Array]) -> bytes:
    r"""Rows of text or binary columns (at least one), as lines.

    Fields end with a tab, lines with a newline; both and the backslash have a backslash before
    them inside of a field; a null is ``\N``.
    """
    fields = [escaped(column).fill_null(b"\\N") for column in columns]
    rows = pc.binary_join_element_wise(*fields, pa.scalar(b"\t", _BYTES))
    return b"\n".join([*rows.to_pylist(), b""])


def escaped(column: pa.Array) -> pa.Array:
    """The column as binary, with a backslash before what would end a field."""
    array = column.cast(_BYTES)
    whole = content(array)
    for sign, instead in _ESCAPES:
        if sign in whole:
            array = pc.replace_substring(array, sign, instead)
    return array


def literals(column: pa.Array, *, convert: bool) -> pa.Array:
    """Each value as an SQL literal of bytes (`convert`: that are called UTF-8)."""
    quoted = pc.replace_substring(escaped(column), b"'", b"\\'")
    first, last = (b"CONVERT(_binary'", b"' USING utf8mb4)") if convert else (b"_binary'", b"'")
    ends = (pa.scalar(end, _BYTES) for end in (first, last, b""))
    before, after, nothing = ends
    return pc.binary_join_element_wise(before, quoted, after, nothing).fill_null(b"NULL")


def bracketed(columns: Sequence[pa.Array]) -> list[bytes]:
    """Rows of literals, each in brackets."""
    comma, before, after, nothing = (pa.scalar(sign, _BYTES) for sign in (b",", b"(", b")", b""))
    rows = pc.binary_join_element_wise(*columns, comma)
    found: list[bytes] = pc.binary_join_element_wise(before, rows, after, nothing).to_pylist()
    return found


def content(column: pa.Array) -> bytes:
    """All bytes of a text or binary column, one value after the other."""
    _validity, offsets, data = column.buffers()
    if data is None or not len(column):
        return b""
    wide = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    places = memoryview(offsets).cast("q" if wide else "i")
    first, last = places[column.offset], places[column.offset + len(column)]
    return bytes(data.slice(first, last - first).to_pybytes())


try:
    from godwit.engines.mysql._lines import (  # type: ignore[import-not-found,unused-ignore]
        lines as _lines,
    )

    COMPILED = True
except ImportError:
    _lines = lines_python
    COMPILED = False

lines: Callable[[Sequence[pa.Array]], bytes] = _lines
