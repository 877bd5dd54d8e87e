"""The typed exchange form: what columns of the format `COLUMNS` hold, and canonical forms.

Rows between two engines travel as record batches (`godwit.model.changes.COLUMNS`). Every column is
either Arrow text that holds the *canonical text* of each value, or a typed Arrow column, whichever
its producer finds faster; a consumer accepts both for every kind. Null is null. The batch's own
schema says which it is.

| kind | typed Arrow column | canonical text |
|---|---|---|
| boolean | bool | ``1``, ``0`` |
| integer | int8 … int64, uint8 … uint64 | decimal digits |
| decimal | decimal128, decimal256 | ``-12.340`` (trailing zeros kept), ``NaN``, ``Infinity``,
  ``-Infinity`` |
| float | float, double | shortest text that reads back as the same number of that width; ``NaN``,
  ``Infinity``, ``-Infinity`` |
| text, enum | string | the text |
| set | string | labels in order, joined by commas |
| binary | binary, large_binary | backslash, ``x``, lower-case hex |
| bit | string | ``0`` and ``1``, the first bit first |
| date | date32 | ``2024-02-29``; ``0044-03-15 BC``; ``12024-01-01``; ``infinity``, ``-infinity`` |
| time | time64[us] | ``23:59:59.123456`` (no trailing zeros needed), ``24:00:00``; zoned ones with
  ``+HH``, ``+HH:MM`` or ``+HH:MM:SS`` behind |
| timestamp | timestamp[us] | ``2024-02-29 23:59:59.123456``, years as for dates |
| timestamp, zoned | timestamp[us, UTC] | the same in UTC with ``+00`` behind |
| interval | string | the engine's words (``1 year 2 mons 3 days 04:05:06.789``); a fixed one is
  ``-838:59:59.123456`` |
| uuid | string | lower case with hyphens |
| json | string | as the source writes it |
| array, opaque | string | the source engine's own text |
| geometry | binary, large_binary | EWKB: well-known binary with the SRID inside if there is one |

A typed date or timestamp column holds only values that Arrow can show (years 1 to 9999); a producer
that meets another one in a batch sends that batch's column as text.

**Canonical forms for comparing** (`Comparable.canonical_kinds`, family ``value``). Each is a text
over ASCII (or the UTF-8 text itself) that both engines compute in SQL:

| form | for | text |
|---|---|---|
| value:number | boolean, integer, decimal, bit by choice | no plus, no leading zeros, no
  trailing zeros behind the point, no bare point, no negative zero; ``NaN``, ``Infinity``, … |
| value:float | float | ``[-]<digits>e<exponent>``: the shortest decimal digits of the number as a
  double, without leading and trailing zeros, and the power of ten of ``0.<digits>``; ``0`` for
  both zeros (not every engine can tell them apart); ``NaN``, ``Infinity``, ``-Infinity`` |
| value:text | text, enum, set, json, uuid, array, opaque | the text itself; fixed-length text
  without trailing blanks |
| value:stripped | the same, where U+0000 cannot be kept | the text without U+0000 |
| value:set | set, array of text | labels in order, joined by commas |
| value:binary | binary, geometry | lower-case hex |
| value:bits | bit | ``0`` and ``1`` |
| value:date | date | ``YYYY-MM-DD`` as the canonical text |
| value:time | time | ``HH:MM:SS.ffffff``, always six digits |
| value:timestamp | timestamp | ``YYYY-MM-DD HH:MM:SS.ffffff``, always six digits |
| value:instant | zoned timestamp (and one that holds UTC by agreement) | the same, in UTC |
| value:duration | interval that is fixed | microseconds as an integer |

Texts and binary values of more than `LONG` bytes are replaced by ``#`` and the SHA-256 of their
bytes (hex). A row's text is, for each column in order, ``N;`` for null, else
``<bytes of the UTF-8 text>:<text>;``.
Its hash is the SHA-256 of that text in hex
(MD5 is gone from newer servers). A row's bucket is the unsigned number in the first 8 hex digits of
the SHA-256 of the key columns' row text (without identity: of the row's text), modulo the buckets.
`BucketSum.first` and `second` add the unsigned numbers in the first and the last 16 hex digits of
the rows' hashes, modulo 2^64. A key is shown as a JSON list of the canonical texts (null for null),
written by `key_text`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from decimal import Decimal

#: The family of the forms that every engine knows.
FAMILY = "value"

NUMBER = "value:number"
FLOAT = "value:float"
TEXT = "value:text"
STRIPPED = "value:stripped"
SET = "value:set"
BINARY = "value:binary"
BITS = "value:bits"
DATE = "value:date"
TIME = "value:time"
TIMESTAMP = "value:timestamp"
INSTANT = "value:instant"
DURATION = "value:duration"

#: Bytes; see above.
LONG = 1_000_000

_SUM = 1 << 64


def family(kind: str) -> str:
    """The part of a canonical form's name before the first colon."""
    return kind.partition(":")[0]


def key_text(texts: Sequence[str | None]) -> str:
    """A row's key as `Comparable.row_hashes` writes it: a compact JSON list."""
    return json.dumps(list(texts), ensure_ascii=False, separators=(",", ":"))


def key_texts(key: str) -> list[str | None]:
    """The inverse of `key_text`."""
    found: list[str | None] = json.loads(key)
    return found


def folded(total: Decimal | int) -> int:
    """A sum of 64-bit numbers, signed or not, modulo 2^64."""
    # A decimal's remainder would keep its sign.
    return int(total) % _SUM
