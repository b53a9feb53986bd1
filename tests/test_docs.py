"""What the documents quote or point to is there."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("**/*.md")])


def read(path):
    return path.read_text(encoding="utf-8")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_to_files(document):
    links = re.findall(r"\]\(([^)#\s]+)[^)]*\)", read(document))
    local = [link for link in links if "://" not in link and not link.startswith("mailto:")]
    assert not [link for link in local if not (document.parent / link).exists()]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_recipes_and_programs_in_commands_exist(document):
    named = re.findall(
        r"--config=(configs/\w+\.py)|python (\w+\.py)|python (?:-m pytest )?((?:tests|benchmarks)/\w+\.py)",
        read(document),
    )
    paths = {path for groups in named for path in groups if path}
    assert not [path for path in paths if not (ROOT / path).is_file()]


def test_the_snippet_of_the_readme_is_code_that_a_test_runs():
    # Verbatim but for the indentation, so the snippet in README.md cannot rot.
    snippets = re.findall(r"<!-- from (tests/\w+\.py) -->\n```python\n(.*?)```", read(ROOT / "README.md"), re.DOTALL)
    assert snippets
    for name, code in snippets:
        source = read(ROOT / name)
        assert any(textwrap.indent(code, " " * indent) in source for indent in (0, 4, 8)), name
