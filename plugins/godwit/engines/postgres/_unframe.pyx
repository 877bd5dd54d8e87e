# cython: language_level=3, boundscheck=False, wraparound=False, cdivision=True
"""The compiled twin of unframe.py (read that first)."""

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize
from libc.string cimport memcpy

ctypedef const unsigned char* cursor


cdef inline Py_ssize_t u4(cursor b) noexcept nogil:
    return (
        (<Py_ssize_t>b[0] << 24) | (<Py_ssize_t>b[1] << 16) | (<Py_ssize_t>b[2] << 8) | b[3]
    )


def unframe(const unsigned char[:] buffer, Py_ssize_t end, Py_ssize_t left):
    """See unframe.unframe_python."""
    cdef cursor b = &buffer[0]
    cdef Py_ssize_t p, stop, total, size, first = left if left < end else end
    # Once to measure, once to copy.
    total = p = first
    while end - p >= 5 and b[p] == 0x64:
        stop = p + 1 + u4(b + p + 1)
        p += 5
        total += (stop if stop < end else end) - p
        p = stop if stop < end else end
    block = PyBytes_FromStringAndSize(NULL, total)
    cdef char* out = PyBytes_AS_STRING(block)
    memcpy(out, b, first)
    out += first
    left -= first
    p = size = first
    while end - p >= 5 and b[p] == 0x64:
        stop = p + 1 + u4(b + p + 1)
        p += 5
        size = (stop if stop < end else end) - p
        memcpy(out, b + p, size)
        out += size
        p += size
        left = stop - p
    return block, p, left, size if left else 0
