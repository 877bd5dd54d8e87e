"""The pages say what the code does: links, commands, examples."""

from __future__ import annotations

import ast
import importlib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

from godwit.cli.commands import app
from godwit.errors import GodwitError
from godwit.model.definition import Definition, parse_definition
from include.demo.servers import ROOT
from scripts.support_matrix import PAGE, page

PAGES = sorted(
    path
    for pattern in ("*.md", "docs/**/*.md", "include/**/*.md", "benchmarks/**/*.md")
    for path in ROOT.glob(pattern)
)
MINIMAL = {
    "name": "shop",
    "migration_type": "full-load-and-cdc",
    "source": {"conn_id": "shop_source"},
    "target": {"conn_id": "shop_target"},
    "tables": {"include": ["public.*"]},
}


@dataclass(frozen=True)
class Block:
    page: Path
    line: int
    language: str
    text: str

    @property
    def where(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(language: str | None = None) -> list[Block]:
    """Fenced blocks of all pages; with `language`, those of one."""
    found = []
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        for match in re.finditer(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE):
            line = text.count("\n", 0, match.start()) + 1
            found.append(Block(path, line, match[1], match[2]))
    return [b for b in found if language is None or b.language == language]


def code(path: Path) -> list[str]:
    """What a page shows as commands: lines of blocks, and spans."""
    text = path.read_text(encoding="utf-8")
    shown = (b for b in blocks() if b.page == path and b.language in {"", "sh", "mermaid"})
    lines = [line for b in shown for line in b.text.splitlines()]
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return lines + [span.replace("\n", " ") for span in re.findall(r"`([^`]+)`", prose)]


def anchors(path: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    plain = (re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", h) for h in headings)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in plain}


@pytest.mark.parametrize("path", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_resolve(path: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", path.read_text(encoding="utf-8"), flags=re.DOTALL | re.M)
    broken = []
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (path.parent / file).resolve() if file else path
        missing = not target.exists()
        if missing or (anchor and target.suffix == ".md" and anchor not in anchors(target)):
            broken.append(link)
    assert not broken


def test_every_page_is_reached_from_the_index() -> None:
    seen, todo = set(), [ROOT / "README.md"]
    while todo:
        current = todo.pop()
        if current in seen or not current.exists():
            continue
        seen.add(current)
        links = re.findall(r"\]\(([^)\s#]+\.md)", current.read_text(encoding="utf-8"))
        todo += [(current.parent / link).resolve() for link in links if ":" not in link]
    assert set((ROOT / "docs").rglob("*.md")) <= seen


def test_named_make_targets_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    named = {
        (word, str(path.relative_to(ROOT)))
        for path in PAGES
        for text in code(path)
        for word in re.findall(r"(?:^|&& |\s)make ([a-z-]+)", text)
    }
    assert {"demo", "test"} <= {word for word, _ in named}
    assert not [item for item in named if item[0] not in targets]


def test_named_commands_and_options_exist() -> None:
    group: Any = typer.main.get_command(app)
    commands = {
        name: {option for p in command.params for option in (*p.opts, *p.secondary_opts)}
        for name, command in group.commands.items()
    }
    wrong, seen = [], set()
    for path in PAGES:
        for text in code(path):
            # `godwit assess | convert FILE` names several.
            for rest in re.findall(r"(?:^|\s)godwit ([a-z][^#`]*)", text):
                for part in rest.split("|"):
                    words = part.split()
                    if not words or not re.fullmatch(r"[a-z-]+", words[0]):
                        continue
                    seen.add(words[0])
                    known = commands.get(words[0])
                    options = [w.strip("[]") for w in words if w.strip("[]").startswith("--")]
                    if known is None or not set(options) <= known | {"--help"}:
                        wrong.append((str(path.relative_to(ROOT)), part.strip()))
    assert not wrong
    assert seen == set(commands)


@pytest.mark.parametrize("block", blocks("yaml"), ids=lambda b: b.where)
def test_yaml_is_a_definition_or_a_part_of_one(block: Block) -> None:
    data = yaml.safe_load(block.text)
    assert set(data) <= set(Definition.model_fields), "keys that no definition has"
    # Files of DMS rules and settings are the reader's own.
    own = {k: v for k, v in data.items() if not str(v).endswith(".json")}
    assert "name" not in data or own == data
    try:
        parse_definition(own if "name" in own else {**MINIMAL, **own}, block.where)
    except GodwitError as error:
        pytest.fail(str(error))


@pytest.mark.parametrize("block", blocks("json"), ids=lambda b: b.where)
def test_json_is_json(block: Block) -> None:
    json.loads(block.text)


@pytest.mark.parametrize("block", blocks("python"), ids=lambda b: b.where)
def test_python_can_be_read_and_imports_what_there_is(block: Block) -> None:
    for node in ast.walk(ast.parse(block.text)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("godwit"):
            module = importlib.import_module(str(node.module))
            assert not [a.name for a in node.names if not hasattr(module, a.name)]


def test_tasks_are_those_of_the_dag() -> None:
    source = (ROOT / "plugins/godwit/airflow/tasks.py").read_text(encoding="utf-8")
    made = set(re.findall(r'task_id="(\w+)"', source))
    text = (ROOT / "docs/airflow.md").read_text(encoding="utf-8")
    table = text.partition("| task | does |")[2].partition("\n\n")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == made
    drawn = (ROOT / "README.md").read_text(encoding="utf-8")
    diagram = drawn.partition("```mermaid")[2].partition("```")[0]
    assert not [task for task in made if task not in diagram]


def test_support_matrix_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "run scripts/support_matrix.py"
