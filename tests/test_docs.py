"""What the docs say of methods, operators and files is what is there."""

import importlib.util
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def generator():
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("path", "text"), generator().pages().items(), ids=lambda _: "")
def test_a_generated_page_is_up_to_date(path, text):
    assert path.read_text("utf-8") == text, "run python docs/generate.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    targets = re.findall(r"\]\(([^)#]+)", page.read_text("utf-8"))
    local = [target for target in targets if "://" not in target]
    assert [target for target in local if not (page.parent / target).exists()] == []


def test_the_commands_of_the_readme_exist():
    text = (ROOT / "README.md").read_text("utf-8")
    cli = (ROOT / "clients/cli.py").read_text("utf-8")
    for command in set(re.findall(r"^onnxplain ([a-z]+)", text, re.M)):
        assert f'"{command}":' in cli, command
    makefile = (ROOT / "Makefile").read_text("utf-8")
    for target in set(re.findall(r"`?make ([a-z]+)", text)):
        assert re.search(rf"^{target}:", makefile, re.M), target
