"""docs/coverage.md, of which every script here writes a section of its own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "coverage.md"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a table in Markdown."""
    lines = [header, ("---",) * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def write_section(heading: str, text: str) -> None:
    """Put ``text`` under this heading of the page, in the place of what is there."""
    page = PAGE.read_text("utf-8")
    section = f"## {heading}\n\n{text}\n"
    old = re.search(rf"^## {re.escape(heading)}\n.*?(?=^## |\Z)", page, re.DOTALL | re.MULTILINE)
    if old is None:
        PAGE.write_text(f"{page.rstrip()}\n\n{section}", "utf-8")
    else:
        rest = page[old.end() :]
        PAGE.write_text(page[: old.start()] + section + ("\n" * bool(rest)) + rest, "utf-8")
