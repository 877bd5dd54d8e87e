"""Taking rows out of the protocol's frames.

The one thing the full load does per row. It exists twice: here in Python, as the reference, and
compiled in ``_unframe.pyx``; `unframe` is the compiled one where the extension could be built.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

_LENGTH = struct.Struct(">I").unpack_from
_DATA = ord("d")


def unframe_python(
    buffer: bytearray | memoryview, end: int, left: int
) -> tuple[bytes, int, int, int]:
    """Join the payloads of the CopyData frames (``d``, int32 length, one row) in ``buffer[:end]``.

    `left`: bytes at the start that belong to the frame before.

    Returns:
        The payloads; the position of the first byte not taken (an incomplete header, or a message
        that is no CopyData); bytes of the last frame still to come; and how many bytes at the
        payloads' end belong to that unfinished frame.
    """
    view = memoryview(buffer)
    first = min(left, end)
    left -= first
    pieces = [view[:first]]
    p = first
    while end - p >= 5 and buffer[p] == _DATA:
        stop = p + 1 + _LENGTH(buffer, p + 1)[0]
        pieces.append(view[p + 5 : min(stop, end)])
        p = min(stop, end)
        left = stop - p
    return b"".join(pieces), p, left, len(pieces[-1]) if left else 0


try:
    from godwit.engines.postgres._unframe import (  # type: ignore[import-not-found,unused-ignore]
        unframe as _unframe,
    )

    COMPILED = True
except ImportError:
    _unframe = unframe_python
    COMPILED = False

unframe: Callable[[bytearray | memoryview, int, int], tuple[bytes, int, int, int]] = _unframe
