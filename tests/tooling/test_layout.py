"""The folders, their links and what may stand in a file."""

import ast
import re
from pathlib import Path

import pytest

from tests.tooling.checkout import PACKAGES, PURE, ROOT, source_files, text_files

FORBIDDEN = {
    "an unfinished mark": r"\b(TODO|FIXME|XXX|HACK)\b|raise NotImplementedError|pytest\.(skip|xfail)\(",
    "a path of one machine": r"(?<![\w.])/(work|home|Users|tmp/tmp)[./]\w+",
    "the address of a package registry": r"(registry\.npmjs|pypi\.org|pythonhosted|deb\.debian\.org)",
    "a conflict mark": r"^(<{7}|>{7}) ",
}
"""What no tracked file holds: what it is, and its pattern."""


def modules(*folders: str) -> list[Path]:
    return [file for file in source_files() if file.suffix == ".py" and file.parts[0] in folders]


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_linked_relatively(package: str) -> None:
    link = ROOT / "src" / "capanode" / package
    assert link.is_symlink(), f"src/capanode/{package} is no link: a zip or a copy has replaced it"
    assert str(link.readlink()) == f"../../{package}"


@pytest.mark.parametrize("what", FORBIDDEN)
def test_no_file_holds(what: str) -> None:
    pattern = re.compile(FORBIDDEN[what], re.MULTILINE)
    found = [
        f"{file}:{text.count(chr(10), 0, match.start()) + 1}: {match[0]}"
        for file, text in text_files()
        if file != Path("tests/tooling/test_layout.py")
        for match in pattern.finditer(text)
    ]
    assert not found, f"{what}:\n" + "\n".join(found)


@pytest.mark.parametrize("file", modules(*PACKAGES, "tests", "bench", "demo", "tools"), ids=str)
def test_imports_are_absolute_and_never_bare(file: Path) -> None:
    for statement in ast.walk(ast.parse((ROOT / file).read_text())):
        match statement:
            case ast.Import(names=names):
                imported = [name.name for name in names]
            case ast.ImportFrom(level=level, module=module):
                assert level == 0, f"{file}:{statement.lineno} imports relatively"
                imported = [module or ""]
            case _:
                continue
        bare = [name for name in imported if name.partition(".")[0] in {*PACKAGES, "src"}]
        assert not bare, f"{file}:{statement.lineno} imports {bare}: say capanode.{bare[0]}"


@pytest.mark.parametrize("file", modules(*PURE), ids=str)
def test_public_names_of_the_pure_folders_are_described(file: Path) -> None:
    tree = ast.parse((ROOT / file).read_text())
    assert ast.get_docstring(tree), f"{file} does not say what lives in it"
    bare = [
        node.name
        for node in tree.body
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
        and not node.name.startswith("_")
        and not ast.get_docstring(node)
    ]
    assert not bare, f"{file}: {', '.join(bare)} without a docstring"


def test_module_names_are_nouns() -> None:
    vague = {"utils", "util", "helpers", "helper", "common", "misc", "manager", "base"}
    found = [str(file) for file in modules(*PACKAGES) if file.stem in vague]
    assert not found
