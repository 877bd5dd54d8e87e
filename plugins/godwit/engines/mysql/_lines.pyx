# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled twin of lines.py (read that first)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uintptr_t
from libc.stdlib cimport free, malloc
from libc.string cimport memchr, memcpy

ctypedef const uint8_t* cursor

cdef struct Column:
    cursor valid      # bit per row, NULL = no nulls
    const int32_t* narrow
    const int64_t* wide
    cursor data
    int64_t shift     # rows before the first one
    bint escape


cdef inline int64_t begin(Column* c, int64_t row) noexcept nogil:
    return c.narrow[c.shift + row] if c.narrow != NULL else c.wide[c.shift + row]


cdef inline bint null_at(Column* c, int64_t row) noexcept nogil:
    cdef int64_t place
    if c.valid == NULL:
        return False
    place = c.shift + row
    return not (c.valid[place >> 3] >> (place & 7)) & 1


cdef inline uint8_t* put(uint8_t* out, cursor b, int64_t size, bint escape) noexcept nogil:
    cdef int64_t i
    cdef uint8_t sign
    if not escape:
        memcpy(out, b, size)
        return out + size
    for i in range(size):
        sign = b[i]
        if sign == 0x5C or sign == 0x09 or sign == 0x0A:
            out[0] = 0x5C
            out += 1
            sign = 0x5C if sign == 0x5C else (0x74 if sign == 0x09 else 0x6E)
        out[0] = sign
        out += 1
    return out


cdef uint8_t* write(Column* columns, int count, int64_t rows, uint8_t* out) noexcept nogil:
    cdef int64_t row, first
    cdef int i
    for row in range(rows):
        for i in range(count):
            if null_at(&columns[i], row):
                out[0] = 0x5C
                out[1] = 0x4E
                out += 2
            else:
                first = begin(&columns[i], row)
                out = put(
                    out,
                    columns[i].data + first,
                    begin(&columns[i], row + 1) - first,
                    columns[i].escape,
                )
            out[0] = 0x09
            out += 1
        out[-1] = 0x0A
    return out


cdef int64_t describe(array, Column* column, int64_t rows) except -1:
    """Fill in `column`; returns the most bytes its fields can take."""
    kind = str(array.type)
    if kind not in ("string", "binary", "large_string", "large_binary"):
        raise TypeError(kind)
    validity, offsets, data = array.buffers()
    cdef cursor start
    cdef int64_t size, nulls = array.null_count
    column.shift = array.offset
    column.valid = <cursor><uintptr_t>(validity.address if validity is not None and nulls else 0)
    column.narrow = NULL
    column.wide = NULL
    if kind.startswith("large"):
        column.wide = <const int64_t*><uintptr_t>offsets.address
    else:
        column.narrow = <const int32_t*><uintptr_t>offsets.address
    column.data = <cursor><uintptr_t>(data.address if data is not None else 0)
    start = column.data + begin(column, 0)
    size = begin(column, rows) - begin(column, 0)
    column.escape = size > 0 and (
        memchr(start, 0x5C, size) != NULL
        or memchr(start, 0x09, size) != NULL
        or memchr(start, 0x0A, size) != NULL
    )
    return (2 * size if column.escape else size) + 2 * nulls + rows


def lines(columns):
    """See lines.lines_python."""
    cdef int i, count = len(columns)
    cdef int64_t rows = len(columns[0]), bound = 0
    cdef uint8_t* out
    cdef uint8_t* end
    cdef Column* described
    if rows == 0:
        return b""
    described = <Column*>malloc(count * sizeof(Column))
    if described == NULL:
        raise MemoryError
    try:
        for i in range(count):
            bound += describe(columns[i], &described[i], rows)
        text = PyBytes_FromStringAndSize(NULL, bound)
        out = <uint8_t*>PyBytes_AS_STRING(text)
        with nogil:
            end = write(described, count, rows, out)
        return text[: end - out] if end - out != bound else text
    finally:
        free(described)
