"""The folders import each other only as the architecture says."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

FOLDERS = ("proto", "graph_rewrites", "explainers", "server", "clients")

# What a file may import of ours while it is itself imported, beside its own folder; the longest
# matching prefix counts.
AT_IMPORT = {
    "proto": set(),
    "graph_rewrites": set(),
    "explainers": {"graph_rewrites"},
    "server": {"explainers", "graph_rewrites", "proto"},
    "clients": set(),
    "clients/python": {"proto"},
}

# What the command line imports only when a command needs it.
WHEN_CALLED = {
    "clients/cli.py": {"clients", "graph_rewrites"},
    "clients/commands": {"clients", "explainers", "graph_rewrites", "server"},
    "clients/demo": {"clients", "explainers", "graph_rewrites"},
}


def python_files():
    return [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py"))]


def allowed(table, path):
    """The entry of the longest prefix of ``path`` in the table."""
    name = path.relative_to(ROOT).as_posix()
    prefixes = [key for key in table if name == key or name.startswith(key + "/")]
    return table[max(prefixes, key=len)] if prefixes else set()


class OwnImports(ast.NodeVisitor):
    """Imports of our own modules: (module, line), at import time and inside functions."""

    def __init__(self):
        self.at_import, self.when_called, self.relative = [], [], []
        self._inside = 0

    def visit_FunctionDef(self, node):
        self._inside += 1
        self.generic_visit(node)
        self._inside -= 1

    visit_AsyncFunctionDef = visit_FunctionDef

    def visit_If(self, node):
        if "TYPE_CHECKING" in ast.unparse(node.test):
            self._inside += 1
            self.generic_visit(node)
            self._inside -= 1
        else:
            self.generic_visit(node)

    def visit_Import(self, node):
        for alias in node.names:
            self._add(alias.name, node)

    def visit_ImportFrom(self, node):
        if node.level:
            self.relative.append((node.level, node.lineno))
        elif node.module == "onnxplain":
            for alias in node.names:
                self._add(f"onnxplain.{alias.name}", node)
        else:
            self._add(node.module, node)

    def visit_Call(self, node):
        name = ast.unparse(node.func)
        if name.endswith("import_module") and isinstance(node.args[0], ast.Constant):
            self._add(node.args[0].value, node)
        self.generic_visit(node)

    def _add(self, module, node):
        if module.split(".")[0] in ("onnxplain", *FOLDERS):
            (self.when_called if self._inside else self.at_import).append((module, node.lineno))


def own_imports(path):
    visitor = OwnImports()
    visitor.visit(ast.parse(path.read_text("utf-8")))
    return visitor


def folder_of(path):
    return path.relative_to(ROOT).parts[0]


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_the_folders_below_its_own(path):
    imports = own_imports(path)
    at_import = {folder_of(path)} | allowed(AT_IMPORT, path)
    cases = [(found, at_import) for found in imports.at_import]
    cases += [(found, at_import | allowed(WHEN_CALLED, path)) for found in imports.when_called]
    for (module, line), names in cases:
        parts = module.split(".")
        assert parts[0] == "onnxplain", f"line {line}: {module} is imported without onnxplain."
        assert parts[1] in names, f"line {line}: {module} is not for {path.name}"


@pytest.mark.parametrize("path", python_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_imports_stay_within_the_folder(path):
    depth = len(path.relative_to(ROOT).parts) - 1
    assert [line for level, line in own_imports(path).relative if level > depth] == []


@pytest.mark.parametrize("path", sorted((ROOT / "clients/python").rglob("*.py")), ids=str)
def test_the_client_needs_nothing_of_the_engine(path):
    heavy = {"onnx", "onnxruntime", "onnxscript", "onnx_ir", "skimage", "sklearn", "scipy"}
    tree = ast.parse(path.read_text("utf-8"))
    names = {
        name.split(".")[0]
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    }
    assert names & heavy == set()


@pytest.mark.parametrize("folder", [folder for folder in FOLDERS if folder != "proto"])
def test_a_folder_refuses_to_be_imported_bare(folder):
    done = subprocess.run(
        [sys.executable, "-c", f"import {folder}"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert f"ImportError: import onnxplain.{folder}" in done.stderr


def test_the_root_does_not_shadow_proto_plus():
    code = "import proto; print(proto.__file__, proto.Message)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert str(ROOT / "proto") not in done.stdout
    assert "site-packages" in done.stdout


def test_every_folder_exports_its_names():
    missing = [
        str(path.relative_to(ROOT))
        for path in python_files()
        if path.name not in ("__init__.py", "__main__.py")
        and "_pb2" not in path.name
        and "__all__" not in path.read_text("utf-8")
    ]
    assert missing == []
