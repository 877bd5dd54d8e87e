# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled twin of encode.py (read that first)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t, uintptr_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

cdef enum:
    WIDTH_1 = 1
    WIDTH_2 = 2
    WIDTH_4 = 4
    WIDTH_8 = 8
    RAW = 20
    JSONB = 21
    NUMERIC = 22
    UUID = 23
    HEX = 24
    BITS = 25
    SPAN = 26
    CLOCK = 27
    NULLS = 28
    MOST_DIGITS = 16000
    MOST_EXPONENT = 1000
    MOST_HOURS = 100000000

#: The last layout known here.
LAYOUTS = NULLS

ctypedef uint8_t* place

cdef struct Column:
    int layout
    const uint8_t* valid
    const uint8_t* data
    const int32_t* offsets
    Py_ssize_t first


cdef inline place put2(place out, uint32_t value) noexcept nogil:
    out[0] = <uint8_t>(value >> 8)
    out[1] = <uint8_t>value
    return out + 2


cdef inline place put4(place out, uint32_t value) noexcept nogil:
    out[0] = <uint8_t>(value >> 24)
    out[1] = <uint8_t>(value >> 16)
    out[2] = <uint8_t>(value >> 8)
    out[3] = <uint8_t>value
    return out + 4


cdef inline place put8(place out, uint64_t value) noexcept nogil:
    out = put4(out, <uint32_t>(value >> 32))
    return put4(out, <uint32_t>value)


cdef inline bint digit(uint8_t c) noexcept nogil:
    return 0x30 <= c <= 0x39


#: What a hex digit stands for; more than 15: it isn't one.
cdef uint8_t[256] nibbles
for _i in range(256):
    nibbles[_i] = 255
for _i in range(16):
    nibbles[ord("0123456789abcdef"[_i])] = _i
    nibbles[ord("0123456789ABCDEF"[_i])] = _i


cdef place number_head(
    place out, int groups, int weight, uint32_t sign, int shown
) noexcept nogil:
    out = put4(out, 8 + 2 * groups)
    out = put2(out, <uint32_t>groups)
    out = put2(out, <uint32_t>weight)
    out = put2(out, sign)
    return put2(out, <uint32_t>shown)


cdef place numeric(place out, const uint8_t* s, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t p = 0, i, start, whole, fraction = 0
    cdef int exponent = 0, sign_of_exponent = 1, count = 0
    cdef int point, weight, pad, groups, group, left, shown, digits
    cdef uint32_t sign = 0
    if size == 3 and memcmp(s, b"NaN", 3) == 0:
        return number_head(out, 0, 0, 0xC000, 0)
    if size == 8 and memcmp(s, b"Infinity", 8) == 0:
        return number_head(out, 0, 0, 0xD000, 0)
    if size == 9 and memcmp(s, b"-Infinity", 9) == 0:
        return number_head(out, 0, 0, 0xF000, 0)
    if size and (s[0] == 0x2B or s[0] == 0x2D):
        sign = 0x4000 if s[0] == 0x2D else 0
        p = 1
    start = p
    while p < size and digit(s[p]):
        p += 1
    whole = p - start
    if p < size and s[p] == 0x2E:
        p += 1
        i = p
        while p < size and digit(s[p]):
            p += 1
        fraction = p - i
    if whole + fraction == 0 or whole + fraction > MOST_DIGITS:
        return NULL
    if p < size and (s[p] | 0x20) == 0x65:
        p += 1
        if p < size and (s[p] == 0x2B or s[p] == 0x2D):
            sign_of_exponent = -1 if s[p] == 0x2D else 1
            p += 1
        while p < size and digit(s[p]) and count < 9:
            exponent = exponent * 10 + (s[p] - 0x30)
            count += 1
            p += 1
        if count == 0 or exponent > MOST_EXPONENT:
            return NULL
        exponent *= sign_of_exponent
    if p != size:
        return NULL
    # Groups of four digits, counted from the point.
    digits = <int>(whole + fraction)
    point = <int>whole + exponent
    weight = (point + 3) // 4 - 1 if point + 3 >= 0 else -((-(point + 3) + 3) // 4) - 1
    pad = (weight + 1) * 4 - point
    groups = (pad + digits + 3) // 4
    shown = <int>fraction - exponent
    out = number_head(out, groups, weight, sign, shown if shown > 0 else 0)
    group = 0
    left = 4 - pad
    i = start
    while digits:
        if s[i] == 0x2E:
            i += 1
        group = group * 10 + (s[i] - 0x30)
        i += 1
        digits -= 1
        left -= 1
        if left == 0:
            out = put2(out, <uint32_t>group)
            group = 0
            left = 4
    if left < 4:
        while left:
            group *= 10
            left -= 1
        out = put2(out, <uint32_t>group)
    return out


cdef place unhexed(place out, const uint8_t* s, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint8_t high, low, odd = 0
    if size & 1:
        return NULL
    for i in range(0, size, 2):
        high = nibbles[s[i]]
        low = nibbles[s[i + 1]]
        odd |= high | low
        out[0] = <uint8_t>(high << 4 | low)
        out += 1
    return NULL if odd > 15 else out


cdef place uuid(place out, const uint8_t* s, Py_ssize_t size) noexcept nogil:
    if size != 36 or s[8] != 0x2D or s[13] != 0x2D or s[18] != 0x2D or s[23] != 0x2D:
        return NULL
    out = unhexed(put4(out, 16), s, 8)
    if out != NULL:
        out = unhexed(out, s + 9, 4)
    if out != NULL:
        out = unhexed(out, s + 14, 4)
    if out != NULL:
        out = unhexed(out, s + 19, 4)
    return unhexed(out, s + 24, 12) if out != NULL else NULL


cdef place bits(place out, const uint8_t* s, Py_ssize_t size) noexcept nogil:
    cdef Py_ssize_t i
    cdef uint8_t value = 0
    out = put4(out, <uint32_t>(4 + (size + 7) // 8))
    out = put4(out, <uint32_t>size)
    for i in range(size):
        if s[i] != 0x30 and s[i] != 0x31:
            return NULL
        value = <uint8_t>(value << 1 | (s[i] & 1))
        if i & 7 == 7:
            out[0] = value
            out += 1
            value = 0
    if size & 7:
        out[0] = <uint8_t>(value << (8 - (size & 7)))
        out += 1
    return out


cdef place span(place out, const uint8_t* s, Py_ssize_t size, bint clock) noexcept nogil:
    cdef Py_ssize_t p = 0, start
    cdef int64_t hours = 0, micros, fraction = 0
    cdef bint minus = size > 0 and s[0] == 0x2D
    cdef int places = 0
    if minus:
        p = 1
    start = p
    while p < size and digit(s[p]) and p - start < 9:
        hours = hours * 10 + (s[p] - 0x30)
        p += 1
    if p == start or hours > MOST_HOURS or size - p < 6:
        return NULL
    if not (
        s[p] == 0x3A
        and 0x30 <= s[p + 1] <= 0x35
        and digit(s[p + 2])
        and s[p + 3] == 0x3A
        and 0x30 <= s[p + 4] <= 0x35
        and digit(s[p + 5])
    ):
        return NULL
    micros = hours * 3600
    micros += ((s[p + 1] - 0x30) * 10 + (s[p + 2] - 0x30)) * 60
    micros += (s[p + 4] - 0x30) * 10 + (s[p + 5] - 0x30)
    p += 6
    if p < size:
        if s[p] != 0x2E or size - p < 2 or size - p > 7:
            return NULL
        p += 1
        while p < size:
            if not digit(s[p]):
                return NULL
            fraction = fraction * 10 + (s[p] - 0x30)
            places += 1
            p += 1
        while places < 6:
            fraction *= 10
            places += 1
    micros = micros * 1000000 + fraction
    if clock:
        if minus or micros > <int64_t>86400 * 1000000:
            return NULL
        return put8(put4(out, 8), <uint64_t>micros)
    out = put4(out, 16)
    out = put8(out, <uint64_t>(-micros if minus else micros))
    return put8(out, 0)


cdef place field(place out, Column* c, Py_ssize_t row) noexcept nogil:
    """One value; NULL when it isn't of the layout's form."""
    cdef Py_ssize_t i = c.first + row
    cdef const uint8_t* s
    cdef Py_ssize_t size
    if c.layout == NULLS or (c.valid != NULL and not (c.valid[i >> 3] >> (i & 7)) & 1):
        return put4(out, 0xFFFFFFFF)
    if c.layout == WIDTH_4:
        return put4(put4(out, 4), (<const uint32_t*>c.data)[i])
    if c.layout == WIDTH_8:
        return put8(put4(out, 8), (<const uint64_t*>c.data)[i])
    if c.layout == WIDTH_2:
        return put2(put4(out, 2), (<const uint16_t*>c.data)[i])
    if c.layout == WIDTH_1:
        out = put4(out, 1)
        out[0] = c.data[i]
        return out + 1
    s = c.data + c.offsets[i]
    size = c.offsets[i + 1] - c.offsets[i]
    if c.layout == RAW:
        out = put4(out, <uint32_t>size)
        memcpy(out, s, size)
        return out + size
    if c.layout == NUMERIC:
        return numeric(out, s, size)
    if c.layout == JSONB:
        out = put4(out, <uint32_t>(size + 1))
        out[0] = 1
        memcpy(out + 1, s, size)
        return out + 1 + size
    if c.layout == UUID:
        return uuid(out, s, size)
    if c.layout == HEX:
        if size < 2 or s[0] != 0x5C or s[1] != 0x78:
            return NULL
        return unhexed(put4(out, <uint32_t>((size - 2) // 2)), s + 2, size - 2)
    if c.layout == BITS:
        return bits(out, s, size)
    return span(out, s, size, c.layout == CLOCK)


cdef place fill(place out, Column* columns, int count, Py_ssize_t rows) noexcept nogil:
    cdef Py_ssize_t row
    cdef int i
    for row in range(rows):
        out = put2(out, <uint32_t>count)
        for i in range(count):
            out = field(out, columns + i, row)
            if out == NULL:
                return NULL
    return out


cdef Py_ssize_t look(Column* c, int layout, object array, Py_ssize_t rows) except -1:
    """Note where a column's buffers are; returns the most bytes its fields can take."""
    cdef Py_ssize_t size
    c.layout = layout
    if layout == NULLS or rows == 0:
        return 4 * rows
    buffers = array.buffers()
    c.first = array.offset
    if array.null_count:
        c.valid = <const uint8_t*><uintptr_t>buffers[0].address
    if layout <= WIDTH_8:
        c.data = <const uint8_t*><uintptr_t>buffers[1].address
        return (4 + layout) * rows
    c.offsets = <const int32_t*><uintptr_t>buffers[1].address
    if buffers[2] is not None:
        c.data = <const uint8_t*><uintptr_t>buffers[2].address
    size = c.offsets[c.first + rows] - c.offsets[c.first]
    # A number's head and its two groups that are not full; a UUID, a span: 20 in all.
    return 20 * rows + size


def encode(columns, Py_ssize_t rows):
    """See encode.encode_python."""
    cdef int i, count = len(columns)
    cdef Py_ssize_t most = 2 * rows
    cdef place end
    cdef place out
    cdef Column* known = <Column*>calloc(count, sizeof(Column))
    if known == NULL:
        raise MemoryError
    try:
        for i in range(count):
            layout, array = columns[i]
            most += look(known + i, layout, array, rows)
        block = PyBytes_FromStringAndSize(NULL, most)
        out = <place>PyBytes_AS_STRING(block)
        with nogil:
            end = fill(out, known, count, rows)
        if end == NULL:
            return None
        return block[: end - out]
    finally:
        free(known)
