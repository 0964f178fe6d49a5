"""Parses the pages of documentation for the tests."""

import re

from local.program import ROOT

README = ROOT / "README.md"
PAGES = {page.name: page.read_text() for page in (README, *sorted((ROOT / "docs").glob("*.md")))}


def blocks(page: str, mark: str) -> list[str]:
    """Return the code blocks of a page whose first line is ``` and this mark."""
    return re.findall(rf"^```{re.escape(mark)}\n(.*?)^```$", PAGES[page], re.MULTILINE | re.DOTALL)


def lines(page: str, mark: str) -> list[str]:
    """Return the lines of those blocks that are not empty."""
    return [line for block in blocks(page, mark) for line in block.splitlines() if line]


def section(page: str, title: str) -> str:
    """Return the text under a heading, up to the next of the same rank or a higher one."""
    found = re.search(rf"^(##+) {title}\n(.*?)(?=^##?#? |\Z)", PAGES[page], re.MULTILINE | re.DOTALL)
    assert found, f"{page} has no section {title!r}"
    return found[2]


def rows(text: str) -> list[list[str]]:
    """Return the cells of the tables in a text, without their heads."""
    cells = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in text.splitlines() if line[:1] == "|"]
    rules = [number for number, line in enumerate(cells) if set(line[0]) == {"-"}]
    return [line for number, line in enumerate(cells) if number not in rules and number + 1 not in rules]


def anchors(page: str) -> set[str]:
    """Return what GitHub makes of the page's headings."""
    return {
        re.sub(r"[^a-z0-9 -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)", PAGES[page], re.MULTILINE)
    }
