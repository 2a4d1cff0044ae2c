"""The package's layers: imports only point up the list."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import waveflow

ROOT = Path(waveflow.__file__).parent
LAYERS = [
    {"decibels", "devices", "extras", "files", "names", "settings"},
    {"audio", "nn", "ops"},
    {"bijections"},
    {"distributions", "models"},
    {"losses", "data", "checkpoints"},
    {"inference", "metrics"},
    {"training", "adapters", "serve", "demo"},
    {"cli"},
]
LEVEL = {name: level for level, names in enumerate(LAYERS) for name in names}
HEAVY = {
    "librosa",
    "numba",
    "hydra",
    "omegaconf",
    "tensorboard",
    "matplotlib",
    "pesq",
    "pystoi",
    "torchdiffeq",
    "scipy",
    "ray",
}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer_of(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 1 and parts[0] == "waveflow" else None


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_point_up_the_layers(path):
    own = path.relative_to(ROOT).parts[0].removesuffix(".py")
    if own not in LEVEL:
        assert own in {"__init__", "__main__", "_version"}, f"{own} has no place in LAYERS"
        return
    for module in imports(path):
        other = layer_of(module)
        if other in LEVEL and other != own:
            assert LEVEL[other] < LEVEL[own], f"{path.name} in {own} imports {module}"


def test_the_readme_lists_the_layers_in_their_order():
    readme = ROOT.parent / "README.md"
    if not readme.is_file():
        pytest.skip("needs the checkout that the README is of")
    layout = readme.read_text(encoding="utf-8").split("## Layout")[1].split("```")[1]
    groups = [{*re.findall(r"^waveflow/(\w+)", group, re.M)} for group in layout.split("\n\n")]
    assert groups[: len(LAYERS)] == LAYERS


def documented(body, owner=None):
    """Public functions and methods, each with the docstring that tells of its errors."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from documented(node.body, node)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            if owner and node.name in ("__init__", "__post_init__"):
                yield f"{owner.name}.{node.name}", node, ast.get_docstring(owner) or ""
            elif not node.name.startswith("_") or node.name == "__call__":
                yield node.name, node, ast.get_docstring(node) or ""


def raises_itself(function):
    """Whether a function's own code raises; to be left to subclasses is no error of a caller's."""
    code = [node for node in function.body if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant))]
    waiting = [] if len(code) == 1 and isinstance(code[0], ast.Raise) else code
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Raise):
            return True
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)):
            waiting += ast.iter_child_nodes(node)
    return False


@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_public_functions_tell_what_they_raise(path):
    # The docstring of a command is its help.
    command = path.stem if path.parent.name == "cli" else None
    functions = documented(ast.parse(path.read_text(encoding="utf-8")).body)
    silent = [name for name, node, said in functions if raises_itself(node) and "Raises:" not in said]
    assert [name for name in silent if name != command] == []


def test_import_of_the_package_loads_nothing_heavy():
    code = "import sys, waveflow; waveflow.load; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not loaded & HEAVY


def test_the_first_call_loads_no_compiler():
    code = (
        "import sys, torch, waveflow; vocoder = waveflow.load('lapglow-tiny', device='cpu'); "
        "vocoder(torch.full((80, 3), -5.0), seed=0); print(*{'torch._dynamo', 'sympy'} & {*sys.modules})"
    )
    assert not subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


@pytest.mark.parametrize("arguments", [["--help"], ["--version"], ["vocode", "--help"]])
def test_the_command_answers_help_without_pytorch(arguments):
    code = (
        "import sys; from waveflow.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print('\\nLOADED', *sorted(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
    loaded = done.stdout.rsplit("LOADED", 1)[1].split()
    assert "waveflow.cli.main" in loaded
    assert not {"torch", "numpy", "torchaudio"} & {*loaded}


def test_every_public_name_is_there():
    assert all(getattr(waveflow, name) for name in waveflow.__all__)
    assert {*waveflow.__all__} <= {*dir(waveflow)}
    for name in set(LEVEL) - {"cli", "demo", "extras", "serve"}:
        assert getattr(waveflow, name).__name__ == f"waveflow.{name}"
    with pytest.raises(AttributeError, match="no attribute 'nonesuch'"):
        _ = waveflow.nonesuch
