"""A program's modules make one file: the same everywhere, whole, and with lines that can be found."""

from __future__ import annotations

import ast
import builtins
import dis
import hashlib
import importlib
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

import oneseek_sandbox.guest
from oneseek_sandbox.guest.bundle import PROGRAMS, bundle

FOLDER = Path(oneseek_sandbox.guest.__file__).parent
each_program = pytest.mark.parametrize("program", PROGRAMS)


def module_path(program: str, module: str) -> Path:
    return FOLDER / program / f"{module}.py"


def tree_of(program: str, module: str) -> ast.Module:
    return ast.parse(module_path(program, module).read_text())


def body_of(program: str, module: str) -> list[ast.stmt]:
    """Return a module's statements below its `__all__`."""
    statements = tree_of(program, module).body
    (place,) = [n for n, node in enumerate(statements) if "__all__" in names_of(node)]
    return statements[place + 1 :]


def names_of(node: ast.stmt) -> set[str]:
    """Return the names that a statement at the top of a module defines."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    stored = [n for n in ast.walk(node) if isinstance(n, ast.Name)]
    imported = [a.asname or a.name for n in ast.walk(node) for a in getattr(n, "names", [])]
    return {n.id for n in stored if isinstance(n.ctx, ast.Store)} | set(imported)


def code_objects(code: types.CodeType) -> list[types.CodeType]:
    below = [const for const in code.co_consts if isinstance(const, types.CodeType)]
    return [code, *(found for const in below for found in code_objects(const))]


def dump(statement: ast.stmt) -> str:
    """Return what a statement says, whatever its docstrings say."""
    for node in ast.walk(statement):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            first = node.body[0]
            if ast.get_docstring(node) is not None and isinstance(first, ast.Expr):
                first.value = ast.Constant("")
    return ast.dump(statement)


@each_program
def test_every_module_of_the_folder_is_in_the_file(program: str) -> None:
    modules = {path.stem for path in (FOLDER / program).glob("*.py")} - {"__init__"}
    assert sorted(PROGRAMS[program]) == sorted(modules)


@each_program
def test_the_file_is_the_same_for_everybody(program: str) -> None:
    code = (
        "import hashlib, sys; from oneseek_sandbox.guest.bundle import bundle; "
        "print(hashlib.sha256(bundle(sys.argv[1])).hexdigest())"
    )
    found = {
        subprocess.run(
            [sys.executable, "-c", code, program],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(FOLDER.parents[1]), "LC_ALL": locale},
            cwd=cwd,
            capture_output=True,
            check=True,
            text=True,
        ).stdout.strip()
        for seed, locale, cwd in (("1", "C", "/"), ("2", "C.UTF-8", "/tmp"))
    }
    assert found == {hashlib.sha256(bundle(program)).hexdigest()}
    assert str(FOLDER.parents[1]).encode() not in bundle(program)


@each_program
def test_the_file_says_what_the_modules_say(program: str) -> None:
    said = [dump(node) for name in PROGRAMS[program] for node in body_of(program, name)]
    whole = ast.parse(bundle(program)).body
    (flag,) = [n for n, node in enumerate(whole) if ast.unparse(node) == "TYPE_CHECKING = False"]
    body = [node for node in whole[flag + 1 :] if names_of(node) != {"MODULE_LINES"}]
    assert [dump(node) for node in body] == said


@each_program
def test_no_two_modules_define_the_same_name(program: str) -> None:
    owners: dict[str, list[str]] = {}
    for module in PROGRAMS[program]:
        for name in {name for node in body_of(program, module) for name in names_of(node)}:
            owners.setdefault(name, []).append(module)
    assert {name: found for name, found in owners.items() if len(found) > 1} == {}


@each_program
def test_modules_import_names_as_they_are_and_from_above(program: str) -> None:
    order = PROGRAMS[program]
    for index, module in enumerate(order):
        tree = tree_of(program, module)
        nodes = [n for n in ast.walk(tree) if isinstance(n, ast.Import | ast.ImportFrom)]
        assert all(alias.asname is None for node in nodes for alias in node.names), module
        at_run_time = [node for node in tree.body if isinstance(node, ast.ImportFrom)]
        ours = [n for n in at_run_time if (n.module or "").startswith("oneseek_sandbox")]
        for node in ours:
            package, _, name = (node.module or "").rpartition(".")
            assert package == f"oneseek_sandbox.guest.{program}", (module, node.module)
            assert name in order[:index], (module, name)


@each_program
def test_it_can_be_imported_as_modules_and_as_one_file(program: str) -> None:
    for module in PROGRAMS[program]:
        importlib.import_module(f"oneseek_sandbox.guest.{program}.{module}")
    whole = types.ModuleType("whole")
    whole.__file__ = "whole"
    code = compile(bundle(program), f"{program}.py", "exec", dont_inherit=True)
    exec(code, vars(whole))
    loaded = [i for c in code_objects(code) for i in dis.get_instructions(c)]
    names = {instruction.argval for instruction in loaded if instruction.opname == "LOAD_GLOBAL"}
    assert names - set(dir(whole)) - set(dir(builtins)) == set()


@each_program
def test_nothing_of_ours_is_imported_where_it_runs(program: str, tmp_path: Path) -> None:
    path = tmp_path / f"{program}.py"
    path.write_bytes(bundle(program))
    code = (
        "import sys; __name__ = 'whole'; exec(compile(open(sys.argv[1]).read(), 'whole', 'exec')); "
        "print(sorted(name for name in sys.modules if 'oneseek' in name or name == 'typing'))"
    )
    command = [sys.executable, "-I", "-S", "-E", "-c", code, str(path)]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"[]\n"


@each_program
def test_the_table_leads_from_a_line_of_the_file_to_one_of_a_module(program: str) -> None:
    lines = bundle(program).decode().splitlines()
    (row,) = [line for line in lines if line.startswith("MODULE_LINES = ")]
    words = ast.literal_eval(row.partition(" = ")[2]).split()
    table = list(zip(map(int, words[::3]), map(int, words[1::3]), words[2::3], strict=True))
    assert tuple(module for _, _, module in table) == PROGRAMS[program]
    ends = [first - 2 for first, _, _ in table[1:]] + [len(lines) + 1]
    for (first, own, module), end in zip(table, ends, strict=True):
        source = module_path(program, module).read_text().splitlines()
        for line, said in zip(lines[first - 1 : end - 1], source[own - 1 :], strict=True):
            assert said.startswith(line) or line.strip() == '""', module


def test_a_crash_of_the_worker_names_module_and_line(tmp_path: Path) -> None:
    path = tmp_path / "worker.py"
    path.write_bytes(bundle("worker"))
    command = [sys.executable, "-I", "-S", "-E", str(path), "--listen", "127.0.0.1:impossible"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.fullmatch(r"worker: ValueError at (\S+ )*options\.py:(\d+): .*\n", ended.stderr)
    assert found, ended.stderr
    source = module_path("worker", "options").read_text().splitlines()
    assert "int(port)" in source[int(found[2]) - 1]
