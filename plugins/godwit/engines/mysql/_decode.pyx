# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True, initializedcheck=False
"""The compiled twin of decode_rows.py and binary_json.py (read those first)."""

from array import array

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memcpy, memset, strlen

from godwit.engines.mysql.charsets import decoded
from godwit.engines.mysql.decode_rows import BadValueError, Raw
from godwit.engines.mysql.value_texts import inet4_text, inet6_text, uuid_text

cdef extern from "Python.h":
    char* PyOS_double_to_string(double val, char format_code, int precision, int flags, int* ptype) except NULL
    void PyMem_Free(void* p)

ctypedef const uint8_t* cursor

cdef enum:
    # layouts
    INT = 0
    FLOAT4 = 1
    FLOAT8 = 2
    YEAR1 = 3
    LENENC = 4
    PREFIXED = 5
    FIXED = 6
    RESULT_DATE = 7
    RESULT_TIME = 8
    PACKED_DECIMAL = 9
    DATE3 = 10
    TIME3 = 11
    DATETIME8 = 12
    TIMESTAMP4 = 13
    TIME2 = 14
    DATETIME2 = 15
    TIMESTAMP2 = 16
    # outputs
    INTEGER = 1
    SINGLE = 2
    DOUBLE = 3
    DATE = 4
    MOMENT = 5
    DURATION = 6
    DECIMAL = 7
    TEXT = 8
    BYTES = 9
    BITS = 10
    EWKB = 11
    LABEL = 12
    LABELS = 13
    JSON = 14
    UUID = 15
    INET4 = 16
    INET6 = 17
    DIGITS = 18
    # character sets
    CS_UTF8 = 0
    CS_ASCII = 1
    CS_TABLE = 2
    CS_UTF16 = 3
    CS_UTF16LE = 4
    CS_UCS2 = 5
    CS_UTF32 = 6
    CS_GB18030 = 7
    # what can go wrong; one more than decode_rows' reasons
    FINE = 0
    CUT_SHORT = 1
    NOT_TEXT = 2
    NO_LABEL = 3
    NOT_JSON = 4
    NOT_GEOMETRY = 5
    TOO_LARGE = 6
    NOT_NUMBER = 7
    NO_MEMORY = 8

cdef int64_t DAY = 86400000000
cdef int64_t ODD = -(<int64_t>1 << 62)
cdef uint32_t INVALID = 0xFFFFFFFF
cdef uint32_t LEAD = 0xFFFFFFFE
cdef int64_t LARGEST = 0x7FFFFFFF
cdef int64_t STRETCH = 4096
cdef int[10] DIGIT_BYTES = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4]
cdef int[13] MONTH_DAYS = [0, 31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31]
cdef int64_t[10] POWERS = [
    1, 10, 100, 1000, 10000, 100000, 1000000, 10000000, 100000000, 1000000000
]

cdef struct Kept:
    int layout
    int size
    int output
    int detail
    int scale
    int is_unsigned
    int how
    const uint32_t* single
    const uint32_t* double_
    const uint32_t* triple
    int labels

cdef struct Column:
    int kind            # 1 fixed width, 2 with offsets
    int width
    int64_t rows
    int64_t nulls
    int64_t odd
    uint8_t* validity
    uint8_t* fixed
    int32_t* offsets
    uint8_t* data
    int64_t used
    int64_t room


# -- little helpers

cdef inline uint64_t little(cursor b, int n) noexcept nogil:
    cdef uint64_t v = 0
    cdef int i
    for i in range(n):
        v |= <uint64_t>b[i] << (8 * i)
    return v


cdef inline uint64_t big(cursor b, int n) noexcept nogil:
    cdef uint64_t v = 0
    cdef int i
    for i in range(n):
        v = (v << 8) | b[i]
    return v


cdef inline int reserve(Column* c, int64_t more) noexcept nogil:
    cdef int64_t room
    cdef uint8_t* moved
    if c.used + more <= c.room:
        return FINE
    if c.used + more > LARGEST:
        return TOO_LARGE
    room = c.room * 2 if c.room * 2 > c.used + more else c.used + more + 256
    moved = <uint8_t*>realloc(c.data, room)
    if moved == NULL:
        return NO_MEMORY
    c.data = moved
    c.room = room
    return FINE


cdef inline int put(Column* c, const void* what, int64_t size) noexcept nogil:
    cdef int wrong = reserve(c, size)
    if wrong:
        return wrong
    memcpy(c.data + c.used, what, size)
    c.used += size
    return FINE


cdef inline int put_object(Column* c, bytes what):
    return put(c, PyBytes_AS_STRING(what), PyBytes_GET_SIZE(what))


cdef inline int put_byte(Column* c, uint8_t what) noexcept nogil:
    cdef int wrong = reserve(c, 1)
    if wrong:
        return wrong
    c.data[c.used] = what
    c.used += 1
    return FINE


cdef inline int digits_at(uint8_t* out, int64_t value, int width) noexcept nogil:
    """Exactly `width` digits."""
    cdef int i
    for i in range(width - 1, -1, -1):
        out[i] = 48 + value % 10
        value //= 10
    return width


cdef inline int number_at(uint8_t* out, uint64_t value) noexcept nogil:
    """As many digits as there are."""
    cdef uint8_t[24] turned
    cdef int n = 0, i
    if value == 0:
        out[0] = 48
        return 1
    while value:
        turned[n] = 48 + value % 10
        value //= 10
        n += 1
    for i in range(n):
        out[i] = turned[n - 1 - i]
    return n


# -- text

cdef bint is_utf8(cursor s, int64_t n) noexcept nogil:
    cdef int64_t i = 0
    cdef uint64_t word
    cdef uint8_t a, b
    while i < n:
        if i + 8 <= n:
            memcpy(&word, s + i, 8)
            if word & <uint64_t>0x8080808080808080 == 0:
                i += 8
                continue
        a = s[i]
        if a < 0x80:
            i += 1
        elif a < 0xC2:
            return False
        elif a < 0xE0:
            if i + 2 > n or s[i + 1] & 0xC0 != 0x80:
                return False
            i += 2
        elif a < 0xF0:
            if i + 3 > n or s[i + 2] & 0xC0 != 0x80:
                return False
            b = s[i + 1]
            if b & 0xC0 != 0x80 or (a == 0xE0 and b < 0xA0) or (a == 0xED and b > 0x9F):
                return False
            i += 3
        elif a < 0xF5:
            if i + 4 > n or s[i + 2] & 0xC0 != 0x80 or s[i + 3] & 0xC0 != 0x80:
                return False
            b = s[i + 1]
            if b & 0xC0 != 0x80 or (a == 0xF0 and b < 0x90) or (a == 0xF4 and b > 0x8F):
                return False
            i += 4
        else:
            return False
    return True


cdef inline int point_at(uint8_t* out, uint32_t c) noexcept nogil:
    """A code point as UTF-8; 0 when it is none."""
    if c < 0x80:
        out[0] = c
        return 1
    if c < 0x800:
        out[0] = 0xC0 | c >> 6
        out[1] = 0x80 | c & 0x3F
        return 2
    if c < 0x10000:
        if 0xD800 <= c < 0xE000:
            return 0
        out[0] = 0xE0 | c >> 12
        out[1] = 0x80 | c >> 6 & 0x3F
        out[2] = 0x80 | c & 0x3F
        return 3
    if c < 0x110000:
        out[0] = 0xF0 | c >> 18
        out[1] = 0x80 | c >> 12 & 0x3F
        out[2] = 0x80 | c >> 6 & 0x3F
        out[3] = 0x80 | c & 0x3F
        return 4
    return 0


cdef int put_table(Column* c, Kept* f, cursor v, int64_t n) noexcept nogil:
    cdef int64_t i = 0, reserved = 0
    cdef uint32_t point
    cdef int size, wrong
    while i < n:
        if i >= reserved:
            wrong = reserve(c, 3 * STRETCH + 8)
            if wrong:
                return wrong
            reserved = i + STRETCH
        point = f.single[v[i]]
        if point == LEAD:
            if v[i] == 0x8F and f.triple != NULL:
                point = f.triple[v[i + 1] << 8 | v[i + 2]] if i + 3 <= n else INVALID
                i += 3
            elif f.double_ != NULL and i + 2 <= n:
                point = f.double_[v[i] << 8 | v[i + 1]]
                i += 2
            else:
                point = INVALID
        else:
            i += 1
        size = point_at(c.data + c.used, point)
        if size == 0:
            return NOT_TEXT
        c.used += size
    return FINE


cdef int put_wide(Column* c, int how, cursor v, int64_t n) noexcept nogil:
    cdef int64_t i = 0, reserved = 0
    cdef uint32_t point, low
    cdef int size, unit = 4 if how == CS_UTF32 else 2
    cdef int hi = 1 if how == CS_UTF16LE else 0
    cdef int wrong
    if n % unit:
        return NOT_TEXT
    while i < n:
        if i >= reserved:
            wrong = reserve(c, 2 * STRETCH + 8)
            if wrong:
                return wrong
            reserved = i + STRETCH
        if how == CS_UTF32:
            point = <uint32_t>big(v + i, 4)
            i += 4
        else:
            point = <uint32_t>v[i + hi] << 8 | v[i + 1 - hi]
            i += 2
            if 0xD800 <= point < 0xDC00 and how != CS_UCS2:
                if i >= n:
                    return NOT_TEXT
                low = <uint32_t>v[i + hi] << 8 | v[i + 1 - hi]
                i += 2
                if not 0xDC00 <= low < 0xE000:
                    return NOT_TEXT
                point = 0x10000 + ((point - 0xD800) << 10) + (low - 0xDC00)
        size = point_at(c.data + c.used, point)
        if size == 0:
            return NOT_TEXT
        c.used += size
    return FINE


cdef int put_text(Column* c, Kept* f, object extra, cursor v, int64_t n):
    cdef int64_t i
    if f.how == CS_UTF8:
        return put(c, v, n) if is_utf8(v, n) else NOT_TEXT
    if f.how == CS_TABLE:
        return put_table(c, f, v, n)
    if f.how == CS_ASCII:
        for i in range(n):
            if v[i] >= 0x80:
                return NOT_TEXT
        return put(c, v, n)
    if f.how == CS_GB18030:
        text = decoded(PyBytes_FromStringAndSize(<char*>v, n), extra)
        return NOT_TEXT if text is None else put_object(c, text.encode())
    return put_wide(c, f.how, v, n)


# -- numbers, dates and times as text

cdef inline bint group_at(uint8_t* out, int* used, cursor body, int size, int digits) noexcept nogil:
    """Digits from some bytes of a packed decimal; False when the number has more."""
    cdef int64_t value = <int64_t>big(body, size)
    if value >= POWERS[digits]:
        return False
    used[0] += digits_at(out + used[0], value, digits)
    return True


cdef int put_decimal(Column* c, cursor v, int64_t n, int precision, int scale) noexcept nogil:
    cdef uint8_t[96] out
    cdef uint8_t[40] body
    cdef int whole = precision - scale, p = 0, used = 0, group, left, i, first, wrong
    cdef bint negative
    if precision < 0 or precision > 81 or scale > precision or n < 1 or n > 40:
        return CUT_SHORT
    group = whole // 9 * 4 + DIGIT_BYTES[whole % 9] + scale // 9 * 4 + DIGIT_BYTES[scale % 9]
    if group > n:
        return CUT_SHORT
    negative = v[0] & 0x80 == 0
    for i in range(<int>n):
        body[i] = v[i] ^ (0xFF if negative else 0)
    body[0] ^= 0x80
    if whole % 9:
        p = DIGIT_BYTES[whole % 9]
        if not group_at(out, &used, body, p, whole % 9):
            return NOT_NUMBER
    for i in range(whole // 9):
        if not group_at(out, &used, body + p, 4, 9):
            return NOT_NUMBER
        p += 4
    first = 0
    while first < used and out[first] == 48:
        first += 1
    if negative:
        wrong = put_byte(c, 45)
        if wrong:
            return wrong
    if first == used:
        wrong = put_byte(c, 48)
    else:
        wrong = put(c, out + first, used - first)
    if wrong or scale == 0:
        return wrong
    out[0] = 46
    used = 1
    for i in range(scale // 9):
        if not group_at(out, &used, body + p, 4, 9):
            return NOT_NUMBER
        p += 4
    left = scale % 9
    if left and not group_at(out, &used, body + p, DIGIT_BYTES[left], left):
        return NOT_NUMBER
    return put(c, out, used)


cdef int put_duration(Column* c, int64_t micros, int digits) noexcept nogil:
    cdef uint8_t[40] out
    cdef int used = 0, width = 2
    cdef int64_t seconds, hours
    if micros < 0:
        out[0] = 45
        used = 1
        micros = -micros
    seconds = micros // 1000000
    micros %= 1000000
    hours = seconds // 3600
    if hours < 100:
        used += digits_at(out + used, hours, 2)
    else:
        used += number_at(out + used, hours)
    out[used] = 58
    used += 1 + digits_at(out + used + 1, seconds // 60 % 60, 2)
    out[used] = 58
    used += 1 + digits_at(out + used + 1, seconds % 60, 2)
    if digits > 0:
        out[used] = 46
        digits_at(out + used + 1, micros, 6)
        used += 1 + digits
    return put(c, out, used)


cdef int put_date(Column* c, int64_t year, int64_t month, int64_t day) noexcept nogil:
    cdef uint8_t[10] out
    digits_at(out, year, 4)
    out[4] = 45
    digits_at(out + 5, month, 2)
    out[7] = 45
    digits_at(out + 8, day, 2)
    return put(c, out, 10)


# -- JSON

cdef int put_quoted(Column* c, cursor v, int64_t n) noexcept nogil:
    cdef int64_t i = 0
    cdef int wrong = put_byte(c, 34)
    # Little by little: six times a long string would be too much to ask for.
    while i < n and wrong == FINE:
        wrong = put_escaped(c, v + i, n - i if n - i < STRETCH else STRETCH)
        i += STRETCH
    return wrong or put_byte(c, 34)


cdef int put_escaped(Column* c, cursor v, int64_t n) noexcept nogil:
    cdef int64_t i
    cdef int wrong = reserve(c, n * 6)
    cdef uint8_t b
    cdef uint8_t* out
    cdef uint8_t* hexes = <uint8_t*>b"0123456789abcdef"
    if wrong:
        return wrong
    out = c.data + c.used
    for i in range(n):
        b = v[i]
        if b >= 0x20 and b != 34 and b != 92:
            out[0] = b
            out += 1
            continue
        out[0] = 92
        if b == 34 or b == 92:
            out[1] = b
        elif b == 8:
            out[1] = 98
        elif b == 9:
            out[1] = 116
        elif b == 10:
            out[1] = 110
        elif b == 12:
            out[1] = 102
        elif b == 13:
            out[1] = 114
        else:
            memcpy(out + 1, b"u00", 3)
            out[4] = hexes[b >> 4]
            out[5] = hexes[b & 15]
            out += 4
        out += 2
    c.used = out - c.data
    return FINE


cdef int put_double(Column* c, double number):
    cdef char* spelled = PyOS_double_to_string(number, b"r", 0, 0, NULL)
    cdef uint8_t[64] digits
    cdef uint8_t[64] out
    cdef char* s = spelled
    cdef int count = 0, point = 0, exponent = 0, used = 0, i, sign = 1, seen_point = 0, skipped
    if s[0] == 45:
        out[0] = 45
        used = 1
        s += 1
    if not 48 <= s[0] <= 57:
        PyMem_Free(spelled)
        return NOT_JSON
    while s[0] and s[0] != 101:
        if s[0] == 46:
            seen_point = 1
        else:
            if count < 60:
                digits[count] = s[0]
                count += 1
            if not seen_point:
                point += 1
        s += 1
    if s[0] == 101:
        s += 1
        if s[0] == 45:
            sign = -1
        if s[0] == 45 or s[0] == 43:
            s += 1
        while s[0]:
            exponent = exponent * 10 + s[0] - 48
            s += 1
    PyMem_Free(spelled)
    skipped = 0
    while skipped < count and digits[skipped] == 48:
        skipped += 1
    point += sign * exponent - skipped
    while count > skipped and digits[count - 1] == 48:
        count -= 1
    count -= skipped
    cdef uint8_t* d = digits + skipped
    if count <= 0:
        memcpy(out + used, b"0.0", 3)
        return put(c, out, used + 3)
    if point >= -14 and (point <= 15 or point < count):
        if point <= 0:
            memcpy(out + used, b"0.", 2)
            used += 2
            for i in range(-point):
                out[used] = 48
                used += 1
            memcpy(out + used, d, count)
            used += count
        elif point >= count:
            memcpy(out + used, d, count)
            used += count
            for i in range(point - count):
                out[used] = 48
                used += 1
            memcpy(out + used, b".0", 2)
            used += 2
        else:
            memcpy(out + used, d, point)
            used += point
            out[used] = 46
            used += 1
            memcpy(out + used, d + point, count - point)
            used += count - point
        return put(c, out, used)
    out[used] = d[0]
    used += 1
    if count > 1:
        out[used] = 46
        memcpy(out + used + 1, d + 1, count - 1)
        used += count
    out[used] = 101
    used += 1
    point -= 1
    if point < 0:
        out[used] = 45
        used += 1
        point = -point
    used += number_at(out + used, point)
    return put(c, out, used)


cdef int json_length(cursor v, int64_t n, int64_t* p, int64_t* size) noexcept nogil:
    cdef int shift = 0
    cdef int64_t found = 0
    while shift < 35:
        if p[0] >= n:
            return NOT_JSON
        found |= <int64_t>(v[p[0]] & 0x7F) << shift
        p[0] += 1
        if v[p[0] - 1] < 0x80:
            size[0] = found
            return FINE if p[0] + found <= n else NOT_JSON
        shift += 7
    return NOT_JSON


cdef int put_opaque(Column* c, int kind, cursor v, int64_t n):
    cdef int64_t packed, whole, micros, seconds, i
    cdef int wrong
    if kind == 246:
        if n < 3:
            return NOT_JSON
        wrong = put_decimal(c, v + 2, n - 2, v[0], v[1])
        return NOT_JSON if wrong == CUT_SHORT or wrong == NOT_NUMBER else wrong
    if kind == 7 or kind == 10 or kind == 11 or kind == 12:
        if n != 8:
            return NOT_JSON
        packed = <int64_t>little(v, 8)
        whole = (-packed if packed < 0 else packed)
        micros = whole & 0xFFFFFF
        whole >>= 24
        wrong = put_byte(c, 34)
        if wrong == FINE and kind == 11:
            seconds = (whole >> 12 & 0x3FF) * 3600 + (whole >> 6 & 0x3F) * 60 + (whole & 0x3F)
            micros += seconds * 1000000
            wrong = put_duration(c, -micros if packed < 0 else micros, 6)
        elif wrong == FINE:
            wrong = put_date(c, (whole >> 22) // 13, (whole >> 22) % 13, whole >> 17 & 0x1F)
            if wrong == FINE and kind != 10:
                seconds = (whole >> 12 & 0x1F) * 3600 + (whole >> 6 & 0x3F) * 60 + (whole & 0x3F)
                wrong = put_byte(c, 32)
                if wrong == FINE:
                    wrong = put_duration(c, micros + seconds * 1000000, 6)
        return wrong or put_byte(c, 34)
    import base64
    encoded = base64.b64encode(PyBytes_FromStringAndSize(<char*>v, n))
    lines = [encoded[i : i + 76] for i in range(0, len(encoded), 76)]
    text = b"base64:type%d:%s" % (kind, b"\n".join(lines))
    return put_quoted(c, <cursor>PyBytes_AS_STRING(text), PyBytes_GET_SIZE(text))


cdef int put_json(Column* c, cursor v, int64_t n, int kind, int64_t p, int depth):
    cdef int64_t size = 0, count, keys, values, i, entry, at
    cdef int wide, inner, wrong = FINE, used, bits
    cdef bint is_object, negative
    cdef uint8_t[24] out
    cdef uint64_t number
    cdef double real
    if depth > 200:
        return NOT_JSON
    if kind <= 3:
        wide = 4 if kind & 1 else 2
        is_object = kind <= 1
        if p + 2 * wide > n:
            return NOT_JSON
        count = <int64_t>little(v + p, wide)
        keys = p + 2 * wide
        values = keys + (count * (wide + 2) if is_object else 0)
        if values + count * (wide + 1) > n:
            return NOT_JSON
        wrong = put_byte(c, 123 if is_object else 91)
        for i in range(count):
            if wrong:
                return wrong
            if i:
                wrong = put(c, <const char*>b", ", 2)
            if is_object and not wrong:
                entry = keys + i * (wide + 2)
                size = <int64_t>little(v + entry + wide, 2)
                at = p + <int64_t>little(v + entry, wide)
                if at + size > n:
                    return NOT_JSON
                wrong = put_quoted(c, v + at, size) or put(c, <const char*>b": ", 2)
            if wrong:
                return wrong
            entry = values + i * (wide + 1)
            inner = v[entry]
            if 4 <= inner <= 6 or (wide == 4 and 7 <= inner <= 8):
                at = entry + 1
            else:
                at = p + <int64_t>little(v + entry + 1, wide)
            wrong = put_json(c, v, n, inner, at, depth + 1)
        return wrong or put_byte(c, 125 if is_object else 93)
    if kind == 4:
        if p >= n or v[p] > 2:
            return NOT_JSON
        if v[p] == 0:
            return put(c, <const char*>b"null", 4)
        if v[p] == 1:
            return put(c, <const char*>b"true", 4)
        return put(c, <const char*>b"false", 5)
    if kind <= 10:
        bits = 2 if kind <= 6 else 4 if kind <= 8 else 8
        if p + bits > n:
            return NOT_JSON
        number = little(v + p, bits)
        negative = (kind & 1) and (number >> (8 * bits - 1)) & 1
        if negative:
            # sign extension, then the magnitude
            if bits < 8:
                number |= ~<uint64_t>0 << (8 * bits)
            number = ~number + 1
            out[0] = 45
        used = number_at(&out[1 if negative else 0], number)
        return put(c, out, used + 1 if negative else used)
    if kind == 11:
        if p + 8 > n:
            return NOT_JSON
        memcpy(&real, v + p, 8)
        return put_double(c, real)
    if kind == 12:
        wrong = json_length(v, n, &p, &size)
        return wrong or put_quoted(c, v + p, size)
    if kind == 15:
        if p >= n:
            return NOT_JSON
        inner = v[p]
        p += 1
        wrong = json_length(v, n, &p, &size)
        return wrong or put_opaque(c, inner, v + p, size)
    return NOT_JSON


# -- dates

cdef inline bint is_date(int64_t year, int64_t month, int64_t day) noexcept nogil:
    if month < 1 or month > 12 or day < 1:
        return False
    if month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0):
        return day <= 29
    return day <= MONTH_DAYS[month]


cdef inline int64_t days_of(int64_t year, int64_t month, int64_t day) noexcept nogil:
    cdef int64_t era, yoe, doy
    if month <= 2:
        year -= 1
    era = year // 400
    yoe = year - era * 400
    doy = (153 * (month - 3 if month > 2 else month + 9) + 2) // 5 + day - 1
    return era * 146097 + yoe * 365 + yoe // 4 - yoe // 100 + doy - 719468


cdef inline void put_moment(Column* c, int output, int64_t year, int64_t month, int64_t day, int64_t micros) noexcept nogil:
    cdef int64_t found
    if year > 0 and is_date(year, month, day):
        found = days_of(year, month, day)
        if output != DATE:
            found = found * DAY + micros
    else:
        found = (year * 16 + month) * 32 + day
        if output != DATE:
            found = found * DAY + micros
        found += ODD
        c.odd += 1
    (<int64_t*>c.fixed)[c.rows] = found


cdef inline int64_t of_day(int64_t hour, int64_t minute, int64_t second, int64_t micros) noexcept nogil:
    return ((hour * 60 + minute) * 60 + second) * 1000000 + micros


cdef inline void put_instant(Column* c, int output, int64_t seconds, int64_t micros) noexcept nogil:
    if seconds == 0 and micros == 0:
        put_moment(c, output, 0, 0, 0, 0)
    else:
        (<int64_t*>c.fixed)[c.rows] = seconds * 1000000 + micros


# -- values

cdef inline int64_t size_of(Kept* f, cursor v, int64_t left) noexcept nogil:
    """How many bytes the value has; more than `left` when it is cut short."""
    cdef int layout = f.layout
    if layout == INT or layout == FIXED or layout == PACKED_DECIMAL:
        return f.size
    if layout == LENENC:
        if left < 1:
            return 1
        if v[0] < 0xFB or v[0] == 0xFB or v[0] == 0xFF:
            return 1 + v[0]
        if v[0] == 0xFC:
            return 3 + <int64_t>little(v + 1, 2) if left >= 3 else 3
        if v[0] == 0xFD:
            return 4 + <int64_t>little(v + 1, 3) if left >= 4 else 4
        return 9 + <int64_t>(little(v + 1, 8) & (<uint64_t>0xFFFFFFFFFFFF)) if left >= 9 else 9
    if layout == PREFIXED:
        return f.size + <int64_t>little(v, f.size) if left >= f.size else f.size
    if layout == FLOAT4 or layout == TIMESTAMP4:
        return 4
    if layout == FLOAT8 or layout == DATETIME8:
        return 8
    if layout == YEAR1:
        return 1
    if layout == DATE3 or layout == TIME3:
        return 3
    if layout == RESULT_DATE or layout == RESULT_TIME:
        return 1 + v[0] if left >= 1 else 1
    if layout == TIME2:
        return 3 + (f.size + 1) // 2
    if layout == DATETIME2:
        return 5 + (f.size + 1) // 2
    return 4 + (f.size + 1) // 2


cdef int put_time(Column* c, Kept* f, cursor v, int64_t n) noexcept nogil:
    """Layouts of dates and times."""
    cdef uint8_t[12] fields
    cdef int layout = f.layout, part = (f.size + 1) // 2
    cdef int64_t packed, whole, micros
    if layout == RESULT_DATE:
        if n > 12:
            return CUT_SHORT
        memset(fields, 0, 12)
        memcpy(fields, v + 1, n - 1)
        put_moment(c, f.output, fields[0] | fields[1] << 8, fields[2], fields[3],
                   of_day(fields[4], fields[5], fields[6], little(fields + 7, 4)))
        return FINE
    if layout == RESULT_TIME:
        if n > 13:
            return CUT_SHORT
        memset(fields, 0, 12)
        memcpy(fields, v + 1, n - 1)
        whole = <int64_t>little(fields + 1, 4) * DAY + of_day(fields[5], fields[6], fields[7], little(fields + 8, 4))
        return put_duration(c, -whole if fields[0] else whole, f.detail)
    if layout == DATE3:
        packed = <int64_t>little(v, 3)
        put_moment(c, f.output, packed >> 9, packed >> 5 & 15, packed & 31, 0)
        return FINE
    if layout == TIME3:
        packed = <int64_t>little(v, 3)
        if packed & 0x800000:
            packed -= 0x1000000
        whole = -packed if packed < 0 else packed
        whole = of_day(whole // 10000, whole // 100 % 100, whole % 100, 0)
        return put_duration(c, -whole if packed < 0 else whole, f.detail)
    if layout == DATETIME8:
        packed = <int64_t>little(v, 8)
        whole = packed // 1000000
        packed %= 1000000
        put_moment(c, f.output, whole // 10000, whole // 100 % 100, whole % 100,
                   of_day(packed // 10000, packed // 100 % 100, packed % 100, 0))
        return FINE
    if layout == TIMESTAMP4:
        put_instant(c, f.output, <int64_t>little(v, 4), 0)
        return FINE
    if layout == TIME2:
        packed = <int64_t>big(v, 3 + part) - (<int64_t>1 << (8 * (3 + part) - 1))
        whole = -packed if packed < 0 else packed
        micros = (whole & ((<int64_t>1 << (8 * part)) - 1)) * POWERS[6 - 2 * part]
        whole >>= 8 * part
        whole = of_day(whole >> 12 & 0x3FF, whole >> 6 & 0x3F, whole & 0x3F, micros)
        return put_duration(c, -whole if packed < 0 else whole, f.detail)
    if layout == DATETIME2:
        whole = <int64_t>big(v, 5) - (<int64_t>1 << 39)
        if whole < 0:
            return CUT_SHORT
        micros = <int64_t>big(v + 5, part) * POWERS[6 - 2 * part]
        put_moment(c, f.output, (whole >> 22) // 13, (whole >> 22) % 13, whole >> 17 & 31,
                   of_day(whole >> 12 & 31, whole >> 6 & 63, whole & 63, micros))
        return FINE
    micros = <int64_t>big(v + 4, part) * POWERS[6 - 2 * part]
    put_instant(c, f.output, <int64_t>big(v, 4), micros)
    return FINE


cdef int put_bytes(Column* c, Kept* f, object extra, cursor v, int64_t n):
    """Outputs that are made of bytes."""
    cdef int output = f.output, wrong, i
    cdef uint64_t number
    cdef int64_t first
    if output == TEXT:
        return put_text(c, f, extra, v, n)
    if output == BYTES:
        wrong = put(c, v, n)
        if wrong or f.detail <= n:
            return wrong
        wrong = reserve(c, f.detail - n)
        if wrong == FINE:
            memset(c.data + c.used, 0, f.detail - n)
            c.used += f.detail - n
        return wrong
    if output == DIGITS:
        first = 0
        if n and v[0] == 45:
            wrong = put_byte(c, 45)
            if wrong:
                return wrong
            first = 1
        while first < n and v[first] == 48:
            first += 1
        if first == n or not 48 <= v[first] <= 57:
            wrong = put_byte(c, 48)
            if wrong:
                return wrong
        return put(c, v + first, n - first)
    if output == DECIMAL:
        return put_decimal(c, v, n, f.detail, f.scale)
    if output == BITS:
        number = big(v, <int>n) if n <= 8 else 0
        wrong = reserve(c, f.detail)
        if wrong:
            return wrong
        for i in range(f.detail):
            c.data[c.used + i] = 48 + (number >> (f.detail - 1 - i) & 1 if f.detail - 1 - i < 64 else 0)
        c.used += f.detail
        return FINE
    if output == EWKB:
        if n < 9 or v[4] != 1:
            return NOT_GEOMETRY
        if little(v, 4) == 0:
            return put(c, v + 4, n - 4)
        wrong = reserve(c, n + 8)
        if wrong:
            return wrong
        memcpy(c.data + c.used, v + 4, 5)
        c.data[c.used + 4] |= 0x20
        memcpy(c.data + c.used + 5, v, 4)
        memcpy(c.data + c.used + 9, v + 9, n - 9)
        c.used += n
        return FINE
    if output == LABEL:
        number = little(v, <int>n) if n <= 8 else ~<uint64_t>0
        if number == 0:
            return FINE
        if number > <uint64_t>f.labels:
            return NO_LABEL
        return put_object(c, (<tuple>extra)[number - 1])
    if output == LABELS:
        number = little(v, <int>n) if n <= 8 else 0
        if f.labels < 64 and number >> f.labels:
            return NO_LABEL
        first = 1
        for i in range(f.labels):
            if number >> i & 1:
                wrong = FINE if first else put_byte(c, 44)
                if wrong:
                    return wrong
                first = 0
                wrong = put_object(c, (<tuple>extra)[i])
                if wrong:
                    return wrong
        return FINE
    if output == JSON:
        if n == 0:
            return put(c, <const char*>b"null", 4)
        first = c.used
        wrong = put_json(c, v, n, v[0], 1, 0)
        if wrong == FINE and not is_utf8(c.data + first, c.used - first):
            return NOT_TEXT
        return wrong
    value = PyBytes_FromStringAndSize(<char*>v, n)
    if output == UUID:
        return put_object(c, uuid_text(value))
    return put_object(c, inet4_text(value) if output == INET4 else inet6_text(value))


cdef int put_value(Column* c, Kept* f, object extra, cursor v, int64_t n):
    cdef int layout = f.layout, i
    cdef uint64_t number
    if layout == INT:
        if f.detail == f.size:
            memcpy(c.fixed + c.rows * c.width, v, f.size)
            return FINE
        number = little(v, f.size)
        if not f.is_unsigned and number >> (8 * f.size - 1) & 1:
            number |= ~<uint64_t>0 << (8 * f.size)
        memcpy(c.fixed + c.rows * c.width, &number, c.width)
        return FINE
    if layout == FLOAT4 or layout == FLOAT8:
        memcpy(c.fixed + c.rows * c.width, v, c.width)
        return FINE
    if layout == YEAR1:
        number = 1900 + v[0] if v[0] else 0
        memcpy(c.fixed + c.rows * c.width, &number, c.width)
        return FINE
    if layout == LENENC:
        i = 3 if v[0] == 0xFC else 4 if v[0] == 0xFD else 9 if v[0] == 0xFE else 1
        return put_bytes(c, f, extra, v + i, n - i)
    if layout == PREFIXED:
        return put_bytes(c, f, extra, v + f.size, n - f.size)
    if layout == FIXED or layout == PACKED_DECIMAL:
        return put_bytes(c, f, extra, v, n)
    return put_time(c, f, v, n)


# -- rows

cdef class CompiledRows:
    """See decode_rows.PythonRows."""

    cdef Kept* kept
    cdef int count
    cdef list extras
    cdef list tables

    def __cinit__(self, fields):
        cdef int i
        cdef const uint32_t[:] table
        self.count = len(fields)
        self.kept = <Kept*>calloc(self.count + 1, sizeof(Kept))
        if self.kept == NULL:
            raise MemoryError
        self.extras = []
        self.tables = []
        for i, field in enumerate(fields):
            f = &self.kept[i]
            f.layout, f.size, f.output, f.detail = field.layout, field.size, field.output, field.detail
            f.is_unsigned = field.unsigned
            extra = field.extra
            self.extras.append(extra)
            if f.output == TEXT:
                f.how = extra.how
                if f.how == CS_TABLE:
                    self.tables.append(extra)
                    table = extra.single
                    f.single = &table[0]
                    if len(extra.double):
                        table = extra.double
                        f.double_ = &table[0]
                    if len(extra.triple):
                        table = extra.triple
                        f.triple = &table[0]
            elif f.output == LABEL or f.output == LABELS:
                f.labels = len(extra)
            elif f.output == DECIMAL:
                f.scale = extra

    def __dealloc__(self):
        free(self.kept)

    cdef list _present(self, mask):
        cdef int i
        if mask is None:
            return list(range(self.count))
        return [i for i in range(self.count) if (<bytes>mask)[i >> 3] >> (i & 7) & 1]

    def split(self, buffer, Py_ssize_t start, Py_ssize_t end, masks):
        cdef const uint8_t[:] view = buffer
        cdef Py_ssize_t p = start, used = 0, room = 1024
        cdef int turns = len(masks), turn = 0
        cdef int64_t[:] starts
        cdef int** order = <int**>calloc(turns, sizeof(int*))
        cdef int* counts = <int*>calloc(turns, sizeof(int))
        cdef int i, j, wrong = FINE, at = 0
        found = array("q", bytes(8 * room))
        starts = found
        try:
            for i in range(turns):
                present = self._present(masks[i])
                counts[i] = len(present)
                order[i] = <int*>malloc(sizeof(int) * (counts[i] + 1))
                for j in range(counts[i]):
                    order[i][j] = present[j]
            if end > view.shape[0]:
                end = view.shape[0]
            while p < end:
                if used == room:
                    starts = None
                    found.frombytes(bytes(8 * room))
                    room *= 2
                    starts = found
                starts[used] = p
                used += 1
                p = self._skip(&view[0], p, end, order[turn], counts[turn], &at)
                if p < 0:
                    raise BadValueError(at, 0)
                if counts[turn] == 0:
                    p = end
                turn = (turn + 1) % turns
        finally:
            for i in range(turns):
                free(order[i])
            free(order)
            free(counts)
        starts = None
        del found[used:]
        return found

    cdef Py_ssize_t _skip(self, cursor b, Py_ssize_t p, Py_ssize_t end, int* order, int count, int* at) noexcept nogil:
        cdef cursor nulls = b + p
        cdef int n
        cdef int64_t size
        p += (count + 7) // 8
        at[0] = 0
        if p > end:
            return -1
        for n in range(count):
            if nulls[n >> 3] >> (n & 7) & 1:
                continue
            size = size_of(&self.kept[order[n]], b + p, end - p)
            if size > end - p:
                at[0] = order[n]
                return -1
            p += size
        return p

    def keys(self, buffer, starts, positions, mask):
        cdef const uint8_t[:] view = buffer
        cdef Py_ssize_t end = view.shape[0], p, total
        cdef int count, n, k, wanted = len(positions)
        cdef int64_t size
        cdef const int64_t[:] places = starts if len(starts) else array("q", [0])
        cdef int64_t row, rows = len(starts)
        cdef cursor b = &view[0] if end else NULL
        cdef cursor nulls
        cdef char* out
        present = self._present(mask)
        count = len(present)
        cdef int* order = <int*>malloc(sizeof(int) * (count + 1))
        cdef int* slot = <int*>malloc(sizeof(int) * (self.count + 1))
        cdef int64_t* begins = <int64_t*>malloc(8 * (wanted + 1))
        cdef int64_t* sizes = <int64_t*>malloc(8 * (wanted + 1))
        keys = []
        try:
            for n in range(count):
                order[n] = present[n]
            for n in range(self.count):
                slot[n] = -1
            for k in range(wanted):
                slot[positions[k]] = k
                if positions[k] not in present:
                    raise KeyError(positions[k])
            for row in range(rows):
                p = places[row]
                if p < 0 or p + (count + 7) // 8 > end:
                    raise BadValueError(0, 0)
                nulls = b + p
                p += (count + 7) // 8
                total = wanted
                k = 0
                for n in range(count):
                    if nulls[n >> 3] >> (n & 7) & 1:
                        size = -1
                    else:
                        size = size_of(&self.kept[order[n]], b + p, end - p)
                        if size > end - p:
                            raise BadValueError(order[n], 0)
                    if slot[order[n]] >= 0:
                        begins[slot[order[n]]] = p
                        sizes[slot[order[n]]] = size
                        total += size if size > 0 else 0
                        k += 1
                        if k == wanted:
                            break
                    p += size if size > 0 else 0
                key = PyBytes_FromStringAndSize(NULL, total)
                out = PyBytes_AS_STRING(key)
                for k in range(wanted):
                    if sizes[k] < 0:
                        out[0] = 1
                        out += 1
                    else:
                        out[0] = 0
                        memcpy(out + 1, b + begins[k], sizes[k])
                        out += 1 + sizes[k]
                keys.append(key)
        finally:
            free(order)
            free(slot)
            free(begins)
            free(sizes)
        return keys

    def images(self, buffer, starts, mask, wanted):
        return self._columns(buffer, starts, self._present(mask), wanted, 0)

    def results(self, buffer, starts, wanted):
        return self._columns(buffer, starts, list(range(self.count)), wanted, 2)

    cdef list _columns(self, buffer, starts, list present, wanted, int shift):
        cdef const uint8_t[:] view = buffer
        cdef Py_ssize_t end = view.shape[0], p
        cdef cursor b = &view[0] if end else NULL
        cdef cursor nulls
        cdef int count = len(present), columns = len(wanted), n, k, position, wrong, bytes_of_nulls
        cdef int64_t row, rows = len(starts), size
        cdef const int64_t[:] places = starts if rows else array("q", [0])
        cdef int* order = <int*>malloc(sizeof(int) * (count + 1))
        cdef int* slot = <int*>malloc(sizeof(int) * (self.count + 1))
        cdef Column* made = <Column*>calloc(columns + 1, sizeof(Column))
        cdef Column* c
        cdef Kept* f
        cdef list extras = self.extras
        bytes_of_nulls = (count + shift + 7) // 8
        try:
            if order == NULL or slot == NULL or made == NULL:
                raise MemoryError
            for n in range(count):
                order[n] = present[n]
            for n in range(self.count):
                slot[n] = -1
            for k in range(columns):
                position = wanted[k]
                slot[position] = k
                self._open(&made[k], &self.kept[position], rows)
            for row in range(rows):
                p = places[row] + (1 if shift else 0)
                if p < 0 or p + bytes_of_nulls > end:
                    raise BadValueError(0, 0)
                nulls = b + p
                p += bytes_of_nulls
                for n in range(count):
                    position = order[n]
                    f = &self.kept[position]
                    k = slot[position]
                    c = &made[k] if k >= 0 else NULL
                    if nulls[(n + shift) >> 3] >> ((n + shift) & 7) & 1:
                        if c != NULL:
                            c.nulls += 1
                            if c.kind == 2:
                                c.offsets[c.rows + 1] = <int32_t>c.used
                            c.rows += 1
                        continue
                    size = size_of(f, b + p, end - p)
                    if size > end - p:
                        raise BadValueError(position, 0)
                    if c != NULL:
                        wrong = put_value(c, f, <object>extras[position], b + p, size)
                        if wrong == NO_MEMORY:
                            raise MemoryError
                        if wrong:
                            raise BadValueError(position, wrong - 1)
                        c.validity[c.rows >> 3] |= 1 << (c.rows & 7)
                        if c.kind == 2:
                            c.offsets[c.rows + 1] = <int32_t>c.used
                        c.rows += 1
                    p += size
            return [self._raw(&made[k]) for k in range(columns)]
        finally:
            for k in range(columns):
                free(made[k].validity)
                free(made[k].fixed)
                free(made[k].offsets)
                free(made[k].data)
            free(made)
            free(order)
            free(slot)

    cdef int _open(self, Column* c, Kept* f, int64_t rows) except -1:
        cdef int output = f.output
        c.width = (
            f.detail if output == INTEGER else 4 if output == SINGLE
            else 8 if output == DOUBLE or output == DATE or output == MOMENT else 0
        )
        c.kind = 1 if c.width else 2
        c.validity = <uint8_t*>calloc((rows + 7) // 8 + 1, 1)
        if c.width:
            c.fixed = <uint8_t*>calloc(rows + 1, c.width)
        else:
            c.offsets = <int32_t*>calloc(rows + 1, 4)
            c.room = rows * 8 + 64
            c.data = <uint8_t*>malloc(c.room)
        if c.validity == NULL or (c.fixed == NULL if c.width else c.offsets == NULL or c.data == NULL):
            raise MemoryError
        return 0

    cdef object _raw(self, Column* c):
        validity = PyBytes_FromStringAndSize(<char*>c.validity, (c.rows + 7) // 8) if c.nulls else b""
        if c.kind == 1:
            data = PyBytes_FromStringAndSize(<char*>c.fixed, c.rows * c.width)
            return Raw(c.rows, c.nulls, validity, data, b"", c.odd)
        data = PyBytes_FromStringAndSize(<char*>c.data, c.used)
        offsets = PyBytes_FromStringAndSize(<char*>c.offsets, (c.rows + 1) * 4)
        return Raw(c.rows, c.nulls, validity, data, offsets, 0)


def json_text(bytes data):
    """See binary_json.json_text; raises ValueError when the bytes are no JSON."""
    cdef Column c
    cdef int wrong
    memset(&c, 0, sizeof(Column))
    try:
        wrong = (
            put_json(&c, <cursor>PyBytes_AS_STRING(data), len(data), data[0], 1, 0)
            if data else put(&c, <const char*>b"null", 4)
        )
        if wrong:
            raise ValueError
        return PyBytes_FromStringAndSize(<char*>c.data, c.used)
    finally:
        free(c.data)


def scan(buffer, Py_ssize_t start, Py_ssize_t end):
    """See decode.scan_python."""
    cdef uint8_t[:] view = buffer
    cdef uint8_t* b = &view[0]
    cdef Py_ssize_t p = start, q, size, total, kept, used = 0, room = 1024, payload
    cdef int parts
    cdef int64_t[:] starts
    found = array("q", bytes(8 * room))
    starts = found
    stop = -1
    while end - p >= 4:
        # A payload of 2^24 - 1 bytes goes on in the next packet.
        q = p
        total = 0
        parts = 0
        while True:
            if end - q < 4:
                parts = -1
                break
            size = b[q] | b[q + 1] << 8 | b[q + 2] << 16
            if end - q - 4 < size:
                parts = -1
                break
            q += 4 + size
            total += size
            parts += 1
            if size != 0xFFFFFF:
                break
        if parts < 0:
            break
        payload = p + 4
        if total < 1 or b[payload] != 0:
            stop = p
            break
        if parts > 1:
            payload = join(b, p, q, parts, total)
        if used == room:
            starts = None
            found.frombytes(bytes(8 * room))
            room *= 2
            starts = found
        starts[used] = payload
        used += 1
        p = q
    starts = None
    del found[used:]
    return found, p, stop


cdef Py_ssize_t join(uint8_t* b, Py_ssize_t p, Py_ssize_t q, int parts, Py_ssize_t total) noexcept nogil:
    """Moves the payload's parts together, up to `q`; returns where it begins now."""
    cdef Py_ssize_t to = q, size, at
    cdef int part
    # From the last part to the first: each moves towards the end.
    for part in range(parts - 1, -1, -1):
        at = p + part * <Py_ssize_t>(4 + 0xFFFFFF) + 4
        size = 0xFFFFFF if part < parts - 1 else total - part * <Py_ssize_t>0xFFFFFF
        to -= size
        move(b + to, b + at, size)
    return to


cdef extern from "string.h" nogil:
    void* memmove(void* to, const void* what, size_t size)


cdef inline void move(uint8_t* to, uint8_t* what, Py_ssize_t size) noexcept nogil:
    memmove(to, what, size)
