"""YAML and JSON text to plain data, with the line of every key."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from godwit.model.problems import KeyPath, Problems


def read_yaml(text: str, problems: Problems) -> tuple[Any, dict[KeyPath, int]]:
    """Data and the line (from 1) of every key and list item.

    Syntax errors and keys written twice are added to `problems`; data is None when the text cannot
    be read at all.
    """
    lines: dict[KeyPath, int] = {}
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        if node is None:
            return None, lines
        for path, line, repeated in _walk(node, ()):
            lines.setdefault(path, line)
            if repeated:
                problems.nested(problems.file, {path: line}).add(
                    path, "this key is written twice", "keep one of the two"
                )
        return yaml.safe_load(text), lines
    except yaml.MarkedYAMLError as cause:
        mark = cause.problem_mark or cause.context_mark
        where: dict[KeyPath, int] = {(): mark.line + 1} if mark else {}
        problems.nested(problems.file, where).add(
            (), f"this is not YAML: {cause.problem}", "check indentation, colons and quotes there"
        )
    except yaml.YAMLError as cause:
        problems.add((), f"this is not YAML: {cause}", "save the file as UTF-8 text")
    except ValueError as cause:  # e.g. the timestamp 2024-13-45, which looks like one but is none
        problems.add((), f"a value cannot be read: {cause}", "put the value in quotes")
    return None, lines


def _walk(node: yaml.Node, path: KeyPath) -> Iterator[tuple[KeyPath, int, bool]]:
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            name = str(key.value)
            yield (*path, name), key.start_mark.line + 1, name in seen
            seen.add(name)
            yield from _walk(value, (*path, name))
    elif isinstance(node, yaml.SequenceNode):
        for index, item in enumerate(node.value):
            yield (*path, index), item.start_mark.line + 1, False
            yield from _walk(item, (*path, index))


def read_json(text: str, problems: Problems, path: KeyPath = ()) -> tuple[Any, dict[KeyPath, int]]:
    """The same for JSON text; `path` says where a problem of the text as a whole is told."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        data: dict[str, Any] = {}
        for key, value in pairs:
            if key in data:
                problems.add((*path, key), "this key is written twice", "keep one of the two")
            data[key] = value
        return data

    try:
        data = json.loads(text, object_pairs_hook=unique)
    except json.JSONDecodeError as cause:
        where: Mapping[KeyPath, int] = problems.lines if path else {(): cause.lineno}
        problems.nested(problems.file, where).add(
            path,
            f"this is not JSON: {cause.msg} (line {cause.lineno}, column {cause.colno})",
            "check commas, quotes and brackets there",
        )
        return None, {}
    return data, _json_lines(text)


def _json_lines(text: str) -> dict[KeyPath, int]:
    # JSON is YAML as far as positions go (tabs apart); without them errors only lack their line.
    try:
        node = yaml.compose(text.replace("\t", " "), Loader=yaml.SafeLoader)
    except yaml.YAMLError:
        return {}
    return {p: line for p, line, _ in _walk(node, ())} if node is not None else {}
