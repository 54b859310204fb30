"""Documents that name files stay true: the test index, links, the commands of the study."""

import re
import shlex
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
INDEX = ROOT / "docs/development/TEST_SUITE_INDEX.md"
DOCUMENTS = sorted(
    path
    for folder in (ROOT, ROOT / "docs", ROOT / "specs")
    for path in (folder.glob("*.md") if folder == ROOT else folder.rglob("*.md"))
)
PROMISED = [
    "docs/TESTING_GUIDE.md",
    "docs/development/TEST_SUITE_INDEX.md",
    "docs/findings.md",
    "docs/studies/fly64_dose_overlap.md",
    "specs/data_contracts.md",
    "specs/bundle.md",
    "specs/overlap_metrics.md",
    "specs/compare_models.md",
]


def test_the_index_has_every_test_file_and_no_other():
    named = re.findall(r"^\| `(tests/[^`]+)` \|", INDEX.read_text(), flags=re.MULTILINE)
    there = sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py"))
    assert sorted(named) == there


@pytest.mark.parametrize("path", PROMISED)
def test_promised_documents_exist_and_say_something(path):
    assert len((ROOT / path).read_text()) > 500


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", document.read_text()):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), f"{document}: {target}"


def commands(text: str) -> list[list[str]]:
    """Commands of the study in code blocks, continued lines joined."""
    joined = text.replace("\\\n", " ")
    return [shlex.split(line) for line in re.findall(r"^python -m studies\.\S+.*$", joined, flags=re.MULTILINE)]


@pytest.mark.parametrize("document", ["docs/TESTING_GUIDE.md", "docs/studies/fly64_dose_overlap.md"])
def test_commands_of_the_study_are_understood(document, capsys):
    """Each flag that a document uses is one that the phase's help tells of."""
    import importlib

    told: dict[str, str] = {}
    found = commands((ROOT / document).read_text())
    assert found
    for _, _, module, *words in found:
        if module not in told:
            with pytest.raises(SystemExit):
                importlib.import_module(module).main(["--help"])
            told[module] = capsys.readouterr().out
        for word in words:
            if word.startswith("--"):
                assert re.search(rf"{word}[ ,\n]", told[module]), f"{module} has no {word}"
