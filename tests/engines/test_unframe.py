"""Frames are taken apart alike by both implementations, however the bytes arrive."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from godwit.engines.postgres import unframe
from godwit.engines.postgres.unframe import unframe_python

IMPLEMENTATIONS = [unframe.unframe, unframe_python]


def frame(row: bytes) -> bytes:
    return b"d" + struct.pack(">I", len(row) + 4) + row


@pytest.mark.parametrize("take", IMPLEMENTATIONS)
@given(
    rows=st.lists(st.binary(max_size=40), max_size=12),
    cuts=st.lists(st.integers(1, 60), min_size=1, max_size=30),
    after=st.sampled_from([b"", b"c\0\0\0\4Z\0\0\0\5T"]),
)
def test_any_cut_gives_the_same_rows(
    take: object, rows: list[bytes], cuts: list[int], after: bytes
) -> None:
    assert callable(take)
    stream = b"".join(map(frame, rows)) + after
    ends = set()
    total = 0
    for row in rows:
        total += len(row)
        ends.add(total)
    got, kept, left, n, unfinished = b"", b"", 0, 0, 0
    while stream:
        size = cuts[n % len(cuts)]
        n += 1
        kept, stream = kept + stream[:size], stream[size:]
        buffer = bytearray(kept + b"d" * 8)
        block, position, left, tail = take(buffer, len(kept), left)
        assert take(buffer, len(kept), 0) == unframe_python(buffer, len(kept), 0)
        got += block
        kept = kept[position:]
        if block:
            unfinished = unfinished + tail if tail == len(block) else tail
            assert len(got) - unfinished in ends | {0}
    assert got == b"".join(rows)
    assert (kept, left) == (after, 0)
