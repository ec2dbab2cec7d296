"""What the checks of the documents read: blocks, comments, headings, tables and links of a Markdown file."""
from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Block:
    """A fenced block, with the HTML comments that stand directly before it."""
    document: str
    line: int
    section: str
    language: str
    text: str
    comments: list[str] = field(default_factory=list)

    def has(self, marker: str) -> bool:
        return any(re.match(rf"{marker}\b", comment) for comment in self.comments)

    @property
    def place(self) -> str:
        return f"{self.document}:{self.line}"


@dataclass
class Table:
    document: str
    line: int
    section: str
    header: list[str]
    rows: list[list[str]]


@dataclass
class Document:
    name: str
    headings: list[tuple[int, int, str]] = field(default_factory=list)      # line, level, title
    blocks: list[Block] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)
    links: list[tuple[int, str]] = field(default_factory=list)              # line, target
    prose: dict[str, str] = field(default_factory=dict)                     # section -> its lines of text


def documents() -> list[str]:
    """Every document for users and contributors, README.md first, since the others build on its table."""
    return ["README.md", *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")), "CONTRIBUTING.md"]


def cells(line: str) -> list[str]:
    return [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip().strip("|"))]


def read(name: str) -> Document:
    document = Document(name)
    lines = (ROOT / name).read_text(encoding="utf-8").splitlines()
    section, comments, number = "", [], 0
    while number < len(lines):
        line, start = lines[number], number + 1
        number += 1
        if line.startswith("<!--"):
            text = [line.removeprefix("<!--")]
            while "-->" not in text[-1]:
                text.append(lines[number])
                number += 1
            text[-1] = text[-1].partition("-->")[0]
            comments.append("\n".join(text).strip())
            continue
        if fence := re.match(r" *```(\w*)", line):
            text = []
            while lines[number].strip() != "```":
                text.append(lines[number])
                number += 1
            number += 1
            document.blocks.append(Block(name, start, section, fence[1], "\n".join(text), comments))
            comments = []
            continue
        if not line.strip():
            continue
        comments = []
        document.links += [(start, target) for target in re.findall(r"\]\(([^)\s]+)\)", line)]
        if heading := re.match(r"(#+) (.*)", line):
            section = heading[2].strip()
            document.prose.setdefault(section, "")
            document.headings.append((start, len(heading[1]), section))
        elif line.startswith("|") and number < len(lines) and re.match(r"\|[ :|-]+\|$", lines[number]):
            rows = []
            number += 1
            while number < len(lines) and lines[number].startswith("|"):
                rows.append(cells(lines[number]))
                document.links += [(number + 1, target) for target in re.findall(r"\]\(([^)\s]+)\)", lines[number])]
                number += 1
            document.tables.append(Table(name, start, section, cells(line), rows))
        else:
            document.prose[section] = document.prose.get(section, "") + line + "\n"
    return document


def anchor(title: str) -> str:
    """The name that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-")


def report(passed: int, failures: list[str]) -> int:
    """Prints the failures and the tally; returns the exit status."""
    for failure in failures:
        print(f"FAILED: {failure}")
    print(f"{passed} passed, {len(failures)} failed")
    return 1 if failures or not passed else 0
