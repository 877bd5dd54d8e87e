"""Character sets as the servers map them, as tables for decoding.

Most are Python's codecs with corrections: the servers' latin1 is Windows-1252 with five more
control characters, sjis and ujis read the fullwidth backslash as the plain one, and so on. A test
compares every code of every character set with a real server. Codes that the servers turn into
U+FFFD or a question mark count as invalid: values with them are refused by name.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache

from godwit.errors import EndpointError

#: How a character set is decoded.
UTF8, ASCII, TABLE, UTF16, UTF16LE, UCS2, UTF32, GB18030 = range(8)

#: Entries of the tables that are no character.
INVALID = 0xFFFFFFFF
#: An entry of `Charset.single`: the byte begins a longer character.
LEAD = 0xFFFFFFFE
_TRIPLE_LEAD = 0x8F


@dataclass(frozen=True, eq=False)
class Charset:
    """A character set.

    Attributes:
        name: in the servers' words.
        how: one of the constants above.
        single: code point of each byte, `LEAD`, or `INVALID` (only `TABLE`).
        double: code point by ``first << 8 | second``; empty when there are none.
        triple: the same for characters that begin with 0x8F.
    """

    name: str
    how: int
    single: array[int]
    double: array[int]
    triple: array[int]


_WHOLE = {
    "utf8mb4": UTF8,
    "utf8mb3": UTF8,
    "utf8": UTF8,
    "ascii": ASCII,
    "utf16": UTF16,
    "utf16le": UTF16LE,
    "ucs2": UCS2,
    "utf32": UTF32,
    "gb18030": GB18030,
}

_CODECS = {
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp1256": "cp1256",
    "cp1257": "cp1257",
    "cp850": "cp850",
    "cp852": "cp852",
    "cp866": "cp866",
    "greek": "iso8859_7",
    "hebrew": "iso8859_8",
    "hp8": "hp_roman8",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "latin1": "cp1252",
    "latin2": "iso8859_2",
    "latin5": "iso8859_9",
    "latin7": "iso8859_13",
    "macce": "mac_latin2",
    "macroman": "mac_roman",
    "tis620": "tis_620",
    "big5": "big5",
    "cp932": "cp932",
    "euckr": "cp949",
    "gb2312": "gb2312",
    "gbk": "gbk",
    "sjis": "shift_jis",
    "ujis": "euc_jp",
    "eucjpms": "euc_jp",
}

#: Code → code point, where the servers differ from Python's codec.
_CORRECTIONS: Mapping[str, Mapping[int, int]] = {
    "latin1": {code: code for code in (0x81, 0x8D, 0x8F, 0x90, 0x9D)},
    "cp1256": dict.fromkeys((0x8A, 0x8F, 0x98, 0x9A, 0x9F, 0xAA, 0xC0, 0xFF), INVALID),
    "cp866": {0xFC: 0x207F, 0xFD: 0xB2},
    "greek": {0xA1: 0x2BD, 0xA2: 0x2BC, 0xA4: INVALID, 0xA5: INVALID, 0xAA: INVALID},
    "hebrew": {0xAF: 0x203E},
    "koi8u": {0x95: 0x2022},
    "cp932": dict.fromkeys((0x80, 0xA0, 0xFD, 0xFE, 0xFF), INVALID),
    "big5": {
        **dict.fromkeys((0xA15A, 0xA1C3, 0xA1C5, 0xA1FE, 0xA240, 0xA2CC, 0xA2CE), INVALID),
        0xF9D6: 0x7881,
        0xF9D7: 0x92B9,
        0xF9D8: 0x88CF,
        0xF9D9: 0x58BB,
        0xF9DA: 0x6052,
        0xF9DB: 0x7CA7,
        0xF9DC: 0x5AFA,
    },
    "sjis": {0x815F: 0x5C},
    "ujis": {0xA1C0: 0x5C},
    "eucjpms": {
        0xA1C1: 0xFF5E,
        0xA1C2: 0x2225,
        0xA1DD: 0xFF0D,
        0xA1F1: 0xFFE0,
        0xA1F2: 0xFFE1,
        0xA2CC: 0xFFE2,
        0x8FA2B7: 0xFF5E,
        0x8FA2C3: 0xFFE4,
    },
}

#: The upper parts of character sets that Python doesn't know; they end at byte 0xFF.
_UPPER = {
    "armscii8": (
        "\xa0\u2741\xa7\u0589)(\xbb\xab\u2014.\u055d,-\u055f\u2026\u055c\u055b\u055e\u0531\u0561"
        "\u0532\u0562\u0533\u0563\u0534\u0564\u0535\u0565\u0536\u0566\u0537\u0567\u0538\u0568"
        "\u0539\u0569\u053a\u056a\u053b\u056b\u053c\u056c\u053d\u056d\u053e\u056e\u053f\u056f"
        "\u0540\u0570\u0541\u0571\u0542\u0572\u0543\u0573\u0544\u0574\u0545\u0575\u0546\u0576"
        "\u0547\u0577\u0548\u0578\u0549\u0579\u054a\u057a\u054b\u057b\u054c\u057c\u054d\u057d"
        "\u054e\u057e\u054f\u057f\u0550\u0580\u0551\u0581\u0552\u0582\u0553\u0583\u0554\u0584"
        "\u0555\u0585\u0556\u0586\u2019'"
    ),
    "dec8": (
        "\xa0\xa1\xa2\xa3\ufffd\xa5\ufffd\xa7\xa4\xa9\xaa\xab\ufffd\ufffd\ufffd\ufffd\xb0\xb1\xb2"
        "\xb3\ufffd\xb5\xb6\xb7\ufffd\xb9\xba\xbb\xbc\xbd\ufffd\xbf\xc0\xc1\xc2\xc3\xc4\xc5\xc6"
        "\xc7\xc8\xc9\xca\xcb\xcc\xcd\xce\xcf\ufffd\xd1\xd2\xd3\xd4\xd5\xd6\u0152\xd8\xd9\xda\xdb"
        "\xdc\u0178\ufffd\xdf\xe0\xe1\xe2\xe3\xe4\xe5\xe6\xe7\xe8\xe9\xea\xeb\xec\xed\xee\xef"
        "\ufffd\xf1\xf2\xf3\xf4\xf5\xf6\u0153\xf8\xf9\xfa\xfb\xfc\xff\ufffd\ufffd"
    ),
    "geostd8": (
        "\u20ac\ufffd\u201a\ufffd\u201e\u2026\u2020\u2021\ufffd\u2030\ufffd\u2039\ufffd\ufffd"
        "\ufffd\ufffd\ufffd\u2018\u2019\u201c\u201d\u2022\u2013\u2014\ufffd\ufffd\ufffd\u203a"
        "\ufffd\ufffd\ufffd\ufffd\xa0\xa1\xa2\xa3\xa4\xa5\xa6\xa7\xa8\xa9\xaa\xab\xac\xad\xae\xaf"
        "\xb0\xb1\xb2\xb3\xb4\xb5\xb6\xb7\xb8\xb9\xba\xbb\xbc\xbd\xbe\xbf\u10d0\u10d1\u10d2\u10d3"
        "\u10d4\u10d5\u10d6\u10f1\u10d7\u10d8\u10d9\u10da\u10db\u10dc\u10f2\u10dd\u10de\u10df"
        "\u10e0\u10e1\u10e2\u10f3\u10e3\u10e4\u10e5\u10e6\u10e7\u10e8\u10e9\u10ea\u10eb\u10ec"
        "\u10ed\u10ee\u10f4\u10ef\u10f0\u10f5\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"
        "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd"
        "\ufffd\u2116\ufffd\ufffd"
    ),
    "keybcs2": (
        "\u010c\xfc\xe9\u010f\xe4\u010e\u0164\u010d\u011b\u011a\u0139\xcd\u013e\u013a\xc4\xc1\xc9"
        "\u017e\u017d\xf4\xf6\xd3\u016f\xda\xfd\xd6\xdc\u0160\u013d\xdd\u0158\u0165\xe1\xed\xf3"
        "\xfa\u0148\u0147\u016e\xd4\u0161\u0159\u0155\u0154\xbc\xa1\xab\xbb\u2591\u2592\u2593"
        "\u2502\u2524\u2561\u2562\u2556\u2555\u2563\u2551\u2557\u255d\u255c\u255b\u2510\u2514"
        "\u2534\u252c\u251c\u2500\u253c\u255e\u255f\u255a\u2554\u2569\u2566\u2560\u2550\u256c"
        "\u2567\u2568\u2564\u2565\u2559\u2558\u2552\u2553\u256b\u256a\u2518\u250c\u2588\u2584"
        "\u258c\u2590\u2580\u03b1\xdf\u0393\u03c0\u03a3\u03c3\xb5\u03c4\u03a6\u0398\u03a9\u03b4"
        "\u221e\u03c6\u03b5\u2229\u2261\xb1\u2265\u2264\u2320\u2321\xf7\u2248\xb0\u2219\xb7\u221a"
        "\u207f\xb2\u25a0\xa0"
    ),
    "swe7": "\ufffd" * 128,
}

_SWE7 = dict(zip(b"@[\\]^`{|}~", "\xc9\xc4\xd6\xc5\xdc\xe9\xe4\xf6\xe5\xfc", strict=True))

#: eucjpms: NEC's row 13 from 0xADA1 on, IBM's characters from 0x8FF3F3 on.
_NEC = (
    "\u2460\u2461\u2462\u2463\u2464\u2465\u2466\u2467\u2468\u2469\u246a\u246b\u246c\u246d"
    "\u246e\u246f\u2470\u2471\u2472\u2473\u2160\u2161\u2162\u2163\u2164\u2165\u2166\u2167"
    "\u2168\u2169\ufffd\u3349\u3314\u3322\u334d\u3318\u3327\u3303\u3336\u3351\u3357\u330d"
    "\u3326\u3323\u332b\u334a\u333b\u339c\u339d\u339e\u338e\u338f\u33c4\u33a1\ufffd\ufffd"
    "\ufffd\ufffd\ufffd\ufffd\ufffd\ufffd\u337b\u301d\u301f\u2116\u33cd\u2121\u32a4\u32a5"
    "\u32a6\u32a7\u32a8\u3231\u3232\u3239\u337e\u337d\u337c\u2252\u2261\u222b\u222e\u2211"
    "\u221a\u22a5\u2220\u221f\u22bf\u2235\u2229\u222a"
)
_IBM = (
    "\u2170\u2171\u2172\u2173\u2174\u2175\u2176\u2177\u2178\u2179\u2160\u2161\u2162\u2163"
    "\u2164\u2165\u2166\u2167\u2168\u2169\uff07\uff02\u3231\u2116\u2121\u70bb\u4efc\u50f4"
    "\u51ec\u5307\u5324\ufa0e\u548a\u5759\ufa0f\ufa10\u589e\u5bec\u5cf5\u5d53\ufa11\u5fb7"
    "\u6085\u6120\u654e\u663b\u6665\ufa12\uf929\u6801\ufa13\ufa14\u6a6b\u6ae2\u6df8\u6df2"
    "\u7028\ufa15\ufa16\u7501\u7682\u769e\ufa17\u7930\ufa18\ufa19\ufa1a\ufa1b\u7ae7\ufa1c"
    "\ufa1d\u7da0\u7dd6\ufa1e\u8362\ufa1f\u85b0\ufa20\ufa21\u8807\ufa22\u8b7f\u8cf4\u8d76"
    "\ufa23\ufa24\ufa25\u90de\ufa26\u9115\ufa27\ufa28\u9592\uf9dc\ufa29\u973b\u974d\u9751"
    "\ufa2a\ufa2b\ufa2c\u999e\u9ad9\u9b72\ufa2d\u9ed1"
)


@lru_cache(maxsize=64)
def charset(name: str) -> Charset:
    """The character set of that name.

    Raises:
        EndpointError: Godwit doesn't know it.
    """
    if name in _WHOLE:
        return Charset(name, _WHOLE[name], array("I"), array("I"), array("I"))
    single = array("I", [INVALID]) * 256
    double, triple = array("I"), array("I")
    for code, point in _characters(name):
        if code < 1 << 8:
            single[code] = point
        elif code < 1 << 16:
            double = double or array("I", [INVALID]) * (1 << 16)
            double[code] = point
            single[code >> 8] = LEAD
        else:
            triple = triple or array("I", [INVALID]) * (1 << 16)
            triple[code & 0xFFFF] = point
            single[_TRIPLE_LEAD] = LEAD
    return Charset(name, TABLE, single, double, triple)


def _characters(name: str) -> Iterator[tuple[int, int]]:
    """`(code, code point)` of every character, codes as big-endian numbers."""
    if name in _UPPER:
        yield from _uppers(name)
    elif name in _CODECS:
        yield from _codec_characters(_CODECS[name], name in {"ujis", "eucjpms"})
    else:
        raise EndpointError(
            f"the character set {name} is not known",
            why="Godwit has no table to decode it with",
            hint="change the column to utf8mb4, or leave it out by a transformation rule",
        )
    if name in {"ujis", "eucjpms"}:
        yield from _user_defined()
    if name == "eucjpms":
        yield from _vendors()
    yield from _CORRECTIONS.get(name, {}).items()


def _uppers(name: str) -> Iterator[tuple[int, int]]:
    upper = _UPPER[name]
    for code in range(256 - len(upper)):
        yield code, code
    for code, character in enumerate(upper, 256 - len(upper)):
        if character != "\ufffd":
            yield code, ord(character)
    if name == "swe7":
        yield 0x7F, INVALID
        for code, character in _SWE7.items():
            yield code, ord(character)


def _codec_characters(codec: str, triples: bool) -> Iterator[tuple[int, int]]:  # noqa: FBT001
    singles = [bytes([code]) for code in range(256)]
    # A byte that is a character by itself cannot begin another one.
    firsts = [code for code in singles if not _point(code, codec)]
    seconds = [bytes([code]) for code in range(0x30, 0xFF)]
    codes = [*singles, *(first + second for first in firsts for second in seconds)]
    if triples:
        high = [bytes([code]) for code in range(0xA1, 0xFF)]
        codes += [bytes([_TRIPLE_LEAD]) + a + b for a in high for b in high]
    for code in codes:
        if point := _point(code, codec):
            yield int.from_bytes(code, "big"), ord(point)


def _point(code: bytes, codec: str) -> str:
    try:
        text = code.decode(codec)
    except UnicodeDecodeError:
        return ""
    return text if len(text) == 1 and text != "\ufffd" else ""


def _user_defined() -> Iterator[tuple[int, int]]:
    """Rows 85 to 94 of both planes are the private use area."""
    for prefix, first in ((0, 0xE000), (_TRIPLE_LEAD << 16, 0xE3AC)):
        for n in range(940):
            yield prefix | (0xF5 + n // 94) << 8 | (0xA1 + n % 94), first + n


def _vendors() -> Iterator[tuple[int, int]]:
    for n, character in enumerate(_NEC):
        if character != "\ufffd":
            yield 0xADA1 + n, ord(character)
    for n, character in enumerate(_IBM, 0xF3F3 - 0xF3A1):
        yield _TRIPLE_LEAD << 16 | (0xF3 + n // 94) << 8 | (0xA1 + n % 94), ord(character)


def decoded(value: bytes, charset: Charset) -> str | None:
    """The value as text; None when it holds what is no character."""
    try:
        return _DECODERS[charset.how](value, charset)
    except UnicodeDecodeError:
        return None


def _by_table(value: bytes, charset: Charset) -> str | None:
    points = []
    p, end = 0, len(value)
    while p < end:
        point = charset.single[value[p]]
        if point == LEAD:
            if value[p] == _TRIPLE_LEAD and charset.triple:
                code, table, p = value[p + 1 : p + 3], charset.triple, p + 3
            else:
                code, table, p = value[p : p + 2], charset.double, p + 2
            point = table[code[0] << 8 | code[1]] if len(code) == 2 else INVALID
        else:
            p += 1
        if point == INVALID:
            return None
        points.append(chr(point))
    return "".join(points)


def _ucs2(value: bytes, _charset: Charset) -> str | None:
    text = value.decode("utf-16-be")
    return text if len(text) * 2 == len(value) else None


_SWAPPED = {0xE7C7: 0x1E3F, 0x1E3F: 0xE7C7}

_DECODERS: Mapping[int, Callable[[bytes, Charset], str | None]] = {
    UTF8: lambda value, _charset: value.decode(),
    ASCII: lambda value, _charset: value.decode("ascii"),
    TABLE: _by_table,
    UTF16: lambda value, _charset: value.decode("utf-16-be"),
    UTF16LE: lambda value, _charset: value.decode("utf-16-le"),
    UCS2: _ucs2,
    UTF32: lambda value, _charset: value.decode("utf-32-be"),
    # The servers follow the standard of 2005, which exchanged two characters.
    GB18030: lambda value, _charset: value.decode("gb18030").translate(_SWAPPED),
}
