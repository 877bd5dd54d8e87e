# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled twin of frames.py (read that first): same functions, same results."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from cpython.mem cimport PyMem_Free, PyMem_Realloc
from libc.string cimport memchr, memcpy

from godwit.engines.postgres.frames import Move, Rows, Scan, Truncate

cdef enum:
    MESSAGE = 30
    NULL_FIELD = 110
    UNCHANGED = 117
    IGNORE = 0
    MULTISET = 2

ctypedef const unsigned char* cursor


cdef inline unsigned int u2(cursor b) noexcept nogil:
    return (<unsigned int>b[0] << 8) | b[1]


cdef inline unsigned int u4(cursor b) noexcept nogil:
    return (<unsigned int>b[0] << 24) | (<unsigned int>b[1] << 16) | (<unsigned int>b[2] << 8) | b[3]


cdef inline unsigned long long u8(cursor b) noexcept nogil:
    return (<unsigned long long>u4(b) << 32) | u4(b + 4)


def scan(const unsigned char[:] buffer, Py_ssize_t start, Py_ssize_t end):
    """See frames.scan_python."""
    cdef cursor b = &buffer[0]
    cdef Py_ssize_t p = start, cut = 0, foreign = -1
    cdef unsigned long long end_lsn = 0, wal_end = 0
    cdef unsigned int length
    cdef unsigned char kind, message
    cdef long changes = 0, opened = 0
    cdef bint reply = False
    commits = []
    while end - p >= 6:
        if b[p] != 0x64:
            foreign = p
            break
        length = u4(b + p + 1)
        if p + 1 + <Py_ssize_t>length > end:
            break
        kind = b[p + 5]
        if kind == 0x77:
            message = b[p + MESSAGE]
            if message == 0x49 or message == 0x55 or message == 0x44 or message == 0x54:
                opened += 1
            elif message == 0x43:
                cut = p + 1 + length
                end_lsn = u8(b + p + 40)
                commits.append((<double>(u8(b + p + 48) + 946684800000000ULL)) / 1e6)
                changes += opened
                opened = 0
        elif kind == 0x6B:
            wal_end = u8(b + p + 6)
            if b[p + 22] == 1:
                reply = True
        p += 1 + <Py_ssize_t>length
    return Scan(p, cut, end_lsn, commits, changes, opened, wal_end, reply, foreign)


cdef inline Py_ssize_t skip(cursor b, Py_ssize_t p, bint* unknown) noexcept nogil:
    cdef unsigned int i, count = u2(b + p)
    unknown[0] = False
    p += 2
    for i in range(count):
        if b[p] == NULL_FIELD:
            p += 1
        elif b[p] == UNCHANGED:
            unknown[0] = True
            p += 1
        else:
            p += 5 + <Py_ssize_t>u4(b + p + 1)
    return p


cdef class Buffer:
    """Bytes that grow."""

    cdef unsigned char* data
    cdef Py_ssize_t size, room
    cdef public long rows

    def __dealloc__(self):
        PyMem_Free(self.data)

    cdef int need(self, Py_ssize_t more) except -1:
        cdef Py_ssize_t room
        cdef unsigned char* data
        if self.size + more > self.room:
            room = max(self.room * 2, self.size + more, 1024)
            data = <unsigned char*>PyMem_Realloc(self.data, room)
            if data == NULL:
                raise MemoryError
            self.data = data
            self.room = room
        return 0

    cdef int put(self, cursor source, Py_ssize_t size) except -1:
        self.need(size)
        memcpy(self.data + self.size, source, size)
        self.size += size
        return 0

    cdef int quoted(self, cursor source, Py_ssize_t size) except -1:
        cdef Py_ssize_t i
        cdef unsigned char* out
        self.need(2 * size + 2)
        out = self.data + self.size
        out[0] = 34
        out += 1
        if size == 0 or memchr(source, 34, size) == NULL:
            memcpy(out, source, size)
            out += size
        else:
            for i in range(size):
                if source[i] == 34:
                    out[0] = 34
                    out += 1
                out[0] = source[i]
                out += 1
        out[0] = 34
        self.size = (out + 1) - self.data
        return 0

    cdef int byte(self, unsigned char value) except -1:
        self.need(1)
        self.data[self.size] = value
        self.size += 1
        return 0

    cdef int short(self, unsigned int value) except -1:
        self.need(2)
        self.data[self.size] = value >> 8
        self.data[self.size + 1] = value & 255
        self.size += 2
        return 0

    cdef tuple result(self):
        return self.rows, PyBytes_FromStringAndSize(<char*>self.data, self.size)


cdef int encode_tuple(Buffer out, cursor b, Py_ssize_t p, bint binary) except -1:
    """Append the row at `p`, its unchanged columns left out."""
    cdef unsigned int i, count = u2(b + p), length, known = 0
    cdef Py_ssize_t header = out.size
    p += 2
    if binary:
        out.short(0)
    for i in range(count):
        if b[p] == UNCHANGED:
            p += 1
            continue
        if not binary and known:
            out.byte(44)
        known += 1
        if b[p] == NULL_FIELD:
            if binary:
                out.put(<cursor>b"\xff\xff\xff\xff", 4)
            p += 1
        else:
            length = u4(b + p + 1)
            if binary:
                out.put(b + p + 1, 4 + <Py_ssize_t>length)
            else:
                out.quoted(b + p + 5, length)
            p += 5 + <Py_ssize_t>length
    if binary:
        out.data[header] = known >> 8
        out.data[header + 1] = known & 255
    else:
        out.byte(10)
    out.rows += 1
    return 0


cdef int encode_key(Buffer out, bytes key, unsigned int count, bint binary) except -1:
    cdef cursor b = <cursor>PyBytes_AS_STRING(key)
    cdef Py_ssize_t p = 0, end = PyBytes_GET_SIZE(key)
    cdef unsigned int length
    cdef bint first = True
    if binary:
        out.short(count)
        out.put(b, end)
    else:
        while p < end:
            if not first:
                out.byte(44)
            first = False
            length = u4(b + p)
            if length == 0xFFFFFFFFU:
                p += 4
            else:
                out.quoted(b + p + 4, length)
                p += 4 + <Py_ssize_t>length
        out.byte(10)
    out.rows += 1
    return 0


cdef class Table:
    """Net changes of one relation in the current stage."""

    cdef object plan
    cdef dict rows
    cdef set fresh
    cdef dict counts
    cdef tuple keys
    cdef int mode, nkeys, last_key
    cdef bint serial, leading
    cdef object skip_xid

    def __init__(self, plan):
        self.plan = plan
        self.mode = plan.mode
        self.keys = plan.keys
        self.nkeys = len(plan.keys)
        self.leading = self.keys == tuple(range(self.nkeys))
        self.last_key = max(self.keys) if self.keys else -1
        self.serial = plan.serial
        self.skip_xid = plan.skip
        self.clear()

    cdef clear(self):
        self.rows = {}
        self.fresh = set()
        self.counts = {}

    cdef bytes key(self, cursor b, Py_ssize_t p):
        cdef Py_ssize_t q = p + 2, size = 0
        cdef int i
        cdef unsigned int length
        cdef bytes out
        cdef char* o
        if self.nkeys == 1 and self.leading and b[q] != NULL_FIELD:
            return PyBytes_FromStringAndSize(<char*>(b + q + 1), 4 + <Py_ssize_t>u4(b + q + 1))
        fields = {}
        for i in range(self.last_key + 1):
            if b[q] == NULL_FIELD or b[q] == UNCHANGED:
                fields[i] = b"\xff\xff\xff\xff" if b[q] == NULL_FIELD else b""
                q += 1
            else:
                length = u4(b + q + 1)
                fields[i] = PyBytes_FromStringAndSize(<char*>(b + q + 1), 4 + <Py_ssize_t>length)
                q += 5 + <Py_ssize_t>length
        return b"".join([fields[k] for k in self.keys])

    cdef count(self, cursor b, Py_ssize_t p, long by):
        cdef bint unknown
        cdef bytes data = PyBytes_FromStringAndSize(<char*>(b + p), skip(b, p, &unknown) - p)
        self.counts[data] = self.counts.get(data, 0) + by

    cdef object encoded(self, bytes raw, bint binary):
        cdef cursor b = <cursor>PyBytes_AS_STRING(raw)
        cdef cursor row
        cdef Py_ssize_t p
        cdef bint unknown
        cdef Buffer inserts = Buffer(), full = Buffer(), deletes = Buffer(), cancelled = Buffer(), out
        if self.mode == MULTISET:
            for data, count in sorted(self.counts.items()):
                out = inserts if count > 0 else deletes
                for _ in range(abs(count)):
                    encode_tuple(out, <cursor>PyBytes_AS_STRING(<bytes>data), 0, binary)
            return Rows(self.plan, inserts.result(), [], deletes.result(), (0, b""))
        partial = {}
        columns = ()
        for key in sorted(self.rows):
            value = self.rows[key]
            if value is None:
                encode_key(cancelled if key in self.fresh else deletes, key, self.nkeys, binary)
                continue
            if type(value) is int:
                row = b
                p = value
            else:
                row = <cursor>PyBytes_AS_STRING(<bytes>value)
                p = 0
            if key in self.fresh:
                encode_tuple(inserts, row, p, binary)
                continue
            skip(row, p, &unknown)
            if not unknown:
                if full.rows == 0:
                    columns = tuple(range(u2(row + p)))
                encode_tuple(full, row, p, binary)
            else:
                known = known_columns(row, p)
                if known not in partial:
                    partial[known] = Buffer()
                encode_tuple(<Buffer>partial[known], row, p, binary)
        updates = [(columns, *full.result())] if full.rows else []
        for known in sorted(partial, key=lambda known: (-len(known), known)):
            updates.append((known, *(<Buffer>partial[known]).result()))
        return Rows(self.plan, inserts.result(), updates, deletes.result(), cancelled.result())


cdef tuple known_columns(cursor b, Py_ssize_t p):
    cdef unsigned int i, count = u2(b + p)
    known = []
    p += 2
    for i in range(count):
        if b[p] == UNCHANGED:
            p += 1
            continue
        known.append(i)
        if b[p] == NULL_FIELD:
            p += 1
        else:
            p += 5 + <Py_ssize_t>u4(b + p + 1)
    return tuple(known)


cdef bytes merge(cursor new, Py_ssize_t p, cursor old, Py_ssize_t q, bint* unknown, tuple only):
    """The row at `p` with its unchanged columns (of `only`, unless None) taken from `q`."""
    cdef Buffer out = Buffer()
    cdef unsigned int i, count = u2(new + p)
    cdef Py_ssize_t size, old_size
    unknown[0] = False
    out.short(count)
    p += 2
    q += 2
    for i in range(count):
        size = 1 if new[p] == NULL_FIELD or new[p] == UNCHANGED else 5 + <Py_ssize_t>u4(new + p + 1)
        old_size = 1 if old[q] == NULL_FIELD or old[q] == UNCHANGED else 5 + <Py_ssize_t>u4(old + q + 1)
        if new[p] != UNCHANGED:
            out.put(new + p, size)
        elif only is None or i in only:
            out.put(old + q, old_size)
            if old[q] == UNCHANGED:
                unknown[0] = True
        else:
            out.byte(UNCHANGED)
            unknown[0] = True
        p += size
        q += old_size
    return PyBytes_FromStringAndSize(<char*>out.data, out.size)


cdef class Work:
    """The state of one `compact` call."""

    cdef bytes raw
    cdef bint binary
    cdef list stages
    cdef dict used

    def __init__(self, bytes raw, bint binary):
        self.raw = raw
        self.binary = binary
        self.stages = []
        self.used = {}

    cdef flush(self):
        if self.used:
            self.stages.append([(<Table>t).encoded(self.raw, self.binary) for t in self.used.values()])
            self.used = {}

    cdef update(self, Table table, unsigned int relation, cursor b, Py_ssize_t body):
        cdef unsigned char before = b[body - 1]
        cdef Py_ssize_t old = -1, p
        cdef bint unknown
        cdef cursor row = b
        cdef object new
        cdef bytes key, old_key
        if before != 0x4E:
            old = body
            body = skip(b, body, &unknown) + 1
        skip(b, body, &unknown)
        new = body
        if unknown and old >= 0:
            new = merge(b, body, b, old, &unknown, None if before == 0x4F else table.keys)
            row = <cursor>PyBytes_AS_STRING(<bytes>new)
            body = 0
        if table.mode == MULTISET:
            if old >= 0:
                table.count(b, old, -1)
                table.count(row, body, 1)
            return
        key = table.key(row, body)
        old_key = key if old < 0 else table.key(b, old)
        if unknown:
            previous = table.rows.get(old_key)
            if previous is not None:
                if type(previous) is int:
                    new = merge(row, body, b, previous, &unknown, None)
                else:
                    new = merge(row, body, <cursor>PyBytes_AS_STRING(<bytes>previous), 0, &unknown, None)
                row = <cursor>PyBytes_AS_STRING(<bytes>new)
                body = 0
        if key == old_key:
            table.rows[key] = new
        elif unknown:
            if not table.rows:
                del self.used[relation]
            self.flush()
            self.move(table, old_key, row, body)
        else:
            table.rows[old_key] = None
            if key not in table.rows:
                table.fresh.add(key)
            table.rows[key] = new

    cdef move(self, Table table, bytes old_key, cursor row, Py_ssize_t p):
        cdef Buffer old = Buffer(), new = Buffer()
        encode_key(old, old_key, table.nkeys, self.binary)
        encode_tuple(new, row, p, self.binary)
        self.stages.append(
            Move(table.plan, old.result()[1], known_columns(row, p), new.result()[1])
        )


def compact(bytes raw, dict plans, relation, unsigned int xid, *, bint binary):
    """See frames.compact_python."""
    cdef cursor b = <cursor>PyBytes_AS_STRING(raw)
    cdef Py_ssize_t p = 0, end = PyBytes_GET_SIZE(raw)
    cdef unsigned int length, relid, last = 0, i, count
    cdef unsigned char kind
    cdef Table table = None
    cdef bint have = False, fresh = False
    cdef bytes key
    cdef Work work = Work(raw, binary)
    while p < end:
        length = u4(b + p + 1)
        if b[p + 5] != 0x77:
            p += 1 + <Py_ssize_t>length
            continue
        kind = b[p + MESSAGE]
        if kind == 0x49 or kind == 0x55 or kind == 0x44:
            relid = u4(b + p + MESSAGE + 1)
            if not have or relid != last:
                table = work.used.get(relid)
                fresh = table is None
                if fresh:
                    table = Table(plans[relid])
                last = relid
                have = True
            if table.mode != IGNORE and (table.skip_xid is None or not table.skip_xid(xid)):
                if table.serial and not fresh:
                    work.flush()
                    table = Table(plans[relid])
                    fresh = True
                if fresh:
                    work.used[relid] = table
                    fresh = False
                if kind == 0x49:
                    if table.mode == MULTISET:
                        table.count(b, p + MESSAGE + 6, 1)
                    else:
                        key = table.key(b, p + MESSAGE + 6)
                        if key not in table.rows:
                            table.fresh.add(key)
                        table.rows[key] = p + MESSAGE + 6
                elif kind == 0x44:
                    if table.mode == MULTISET:
                        table.count(b, p + MESSAGE + 6, -1)
                    else:
                        table.rows[table.key(b, p + MESSAGE + 6)] = None
                else:
                    work.update(table, relid, b, p + MESSAGE + 6)
                    if not work.used:
                        have = False
        elif kind == 0x42:
            xid = u4(b + p + MESSAGE + 17)
        elif kind == 0x52:
            have = False
            stage = relation(raw[p + MESSAGE : p + 1 + length])
            if stage is not None:
                work.flush()
                work.stages.append(stage)
        elif kind == 0x54:
            have = False
            work.flush()
            count = u4(b + p + MESSAGE + 1)
            ids = tuple([u4(b + p + MESSAGE + 6 + 4 * i) for i in range(count)])
            work.stages.append(Truncate(b[p + MESSAGE + 5], ids, xid))
        p += 1 + <Py_ssize_t>length
    work.flush()
    return work.stages, xid
