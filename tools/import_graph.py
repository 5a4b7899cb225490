"""Draw which folders of the package import which, as a Mermaid graph, and count the arrows.

    python tools/import_graph.py [PACKAGE]            the graph, for ARCHITECTURE.md
    python tools/import_graph.py --count [PACKAGE]    the number of arrows

An arrow is one folder, or one module beside the folders, that imports another; imports for type
checkers count. The graph shows the folders, and only arrows that no others lead along: none from A to
C where A imports B and B leads to C. The count has all.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "shared" / "oneseek_sandbox"

Arrows = dict[str, set[str]]


def arrows(package: Path) -> Arrows:
    """Return what each folder, and each module beside the folders, imports of the others."""
    found: Arrows = defaultdict(set)
    for path in package.rglob("*.py"):
        unit = path.relative_to(package).parts[0].removesuffix(".py")
        for name in _imported(ast.parse(path.read_text("utf-8")), package.name):
            if name != unit and _is_unit(package, name):
                found[unit].add(name)
    found.pop("__init__", None)
    return found


def _imported(tree: ast.Module, package: str) -> set[str]:
    """Return the names right below the package that a module imports."""
    names: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module == package:
            names.update(f"{package}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return {name.split(".")[1] for name in names if name.startswith(f"{package}.")}


def _is_unit(package: Path, name: str) -> bool:
    return (package / name).is_dir() or (package / f"{name}.py").is_file()


def between_folders(package: Path, found: Arrows) -> Arrows:
    """Return the arrows that go from a folder to a folder."""
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    return {folder: found[folder] & folders for folder in folders}


def without_detours(found: Arrows) -> Arrows:
    """Return the arrows without those that other arrows lead along as well."""

    def reached(unit: str) -> set[str]:
        below: set[str] = set()
        todo = [unit]
        while todo:
            for name in found.get(todo.pop(), set()) - below:
                below.add(name)
                todo.append(name)
        return below

    return {
        unit: {name for name in names if not any(name in reached(o) for o in names - {name})}
        for unit, names in found.items()
    }


def graph(package: Path = PACKAGE) -> str:
    """Return the graph of the folders."""
    shown = without_detours(between_folders(package, arrows(package)))
    lines = [f"  {unit} --> {name}" for unit in sorted(shown) for name in sorted(shown[unit])]
    return "\n".join(["graph TD", *lines])


def main(arguments: list[str]) -> None:
    """Print the graph, or the counts."""
    package = Path(next((each for each in arguments if not each.startswith("-")), PACKAGE))
    if "--count" not in arguments:
        print(graph(package))
        return
    found = arrows(package)
    folders = between_folders(package, found)
    print(f"{sum(map(len, found.values()))} with the modules beside the folders")
    print(f"{sum(map(len, folders.values()))} between {len(folders)} folders")


if __name__ == "__main__":
    main(sys.argv[1:])
