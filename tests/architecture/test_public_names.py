"""What a module offers is what its `__all__` says."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "shared" / "oneseek_sandbox"
MODULES = sorted(PACKAGE.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_all_holds_the_public_names(path):
    module = ast.parse(path.read_text())
    defined, offered, imported = set(), None, set()
    for node in module.body:
        # One may depend on the interpreter: below `if` and `try`.
        for below in ast.walk(node) if isinstance(node, ast.If | ast.Try) else [node]:
            if isinstance(below, ast.ImportFrom | ast.Import):
                imported |= {alias.asname or alias.name for alias in below.names}
        for name in _names(node):
            if name == "__all__":
                offered = ast.literal_eval(node.value)
            defined.add(name)
    if not defined and not imported:
        return  # a package that is only a folder
    if offered is None and _is_program(module):
        return  # run by its path, never imported
    assert offered is not None, "has no __all__"
    assert len(offered) == len(set(offered))
    public = {name for name in defined if not name.startswith("_") and name != "log"}
    unlisted = public - set(offered)
    assert sorted(unlisted) == [], "neither in __all__ nor private"
    assert sorted(set(offered) - defined - imported) == [], "in __all__, but not there"


def _is_program(module: ast.Module) -> bool:
    last = module.body[-1]
    return isinstance(last, ast.If) and ast.unparse(last.test) == "__name__ == '__main__'"


def _names(node: ast.stmt) -> list[str]:
    match node:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [node.name]
        case ast.Assign(value=ast.Call(func=ast.Name(id="TypeVar"))):
            return []  # a part of signatures
        case ast.Assign():
            return [target.id for target in node.targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return []
