"""The architecture as a test: who may import whom, what must stay cheap to import, and what no source line may contain."""

import ast
import re
import string
import subprocess
import sys
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from titrant import errors

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "titrant"

# From the bottom up: a module may import modules of its own layer and of lower ones. A package is one layer with its modules.
LAYERS = (
    "texts",
    "errors",
    "clock",
    "background",
    "space",
    "record",
    "folders",
    "view",
    "samples",
    "tricks",
    "recipe",
    "surgery",
    "data",
    "models",
    "train",
    "doctor",
    "search",
    "wanted",
    "evidence",
    "predictor",
    "report",
    "judged",
    "results",
    "logs",
    "job",
    "studies",
    "find",
    "loop",
    "exports",
    "server",
    "estimators",
    "__init__",
    "cli",
    "__main__",
)
WITHOUT_TORCH = (
    "titrant",
    "titrant.texts",
    "titrant.errors",
    "titrant.clock",
    "titrant.space",
    "titrant.record",
    "titrant.folders",
    "titrant.samples",
)
OPTIONAL = (
    "ray",
    "lightning",
    "pytorch_lightning",
    "keras",
    "tensorflow",
    "ai_edge_litert",
    "onnx",
    "onnxruntime",
    "onnxscript",
    "tokenizers",
    "fastapi",
    "uvicorn",
    "starlette",
    "mlflow",
)
UNSAFE_CALLS = {"eval", "exec", "torch.load", "yaml.load", "yaml.unsafe_load", "yaml.full_load", "joblib.load"}
UNSAFE_MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
BETWEEN_OWN_PROCESSES = {"titrant.train.workers imports pickle"}  # over pipes that nothing else writes to; never from a file


def name_of(file: Path) -> str:
    """`src/titrant/train/loop.py` → `titrant.train.loop`; a package's `__init__.py` has the package's name."""
    parts = file.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {name_of(file): file for file in sorted(PACKAGE.rglob("*.py"))}


@cache
def tree_of(module: str) -> ast.Module:
    """The module's syntax tree."""
    return ast.parse(FILES[module].read_text(encoding="utf-8"))


def imported(module: str) -> Iterator[str]:
    """Full dotted names that the module imports anywhere in its text, inside functions too."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{origin(module, node)}.{alias.name}" for alias in node.names)


def origin(module: str, node: ast.ImportFrom) -> str:
    """The absolute name of what stands between `from` and `import`."""
    if not node.level:
        return node.module or ""
    package = module.split(".") if FILES[module].name == "__init__.py" else module.split(".")[:-1]
    return ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])])


def own_imports(module: str) -> set[str]:
    """The modules of the package that the module imports, whole or a name out of them."""
    named = ({name, name.rpartition(".")[0]} & FILES.keys() for name in imported(module))
    return {max(found, key=len) for found in named if found}


def layer(module: str) -> str:
    """The name in LAYERS that a module belongs to."""
    return module.split(".")[1] if "." in module else "__init__"


def calls(module: str) -> Iterator[tuple[int, str, ast.Call]]:
    """Line, dotted name and node of every call by name."""
    for node in ast.walk(tree_of(module)):
        if isinstance(node, ast.Call):
            yield node.lineno, ast.unparse(node.func), node


def test_every_module_has_a_layer() -> None:
    assert {layer(module) for module in FILES} <= set(LAYERS), "name the new module in LAYERS, where it belongs"


@pytest.mark.parametrize("module", FILES)
def test_lower_layers_never_import_higher_ones(module: str) -> None:
    height = LAYERS.index(layer(module))
    assert not [name for name in own_imports(module) if LAYERS.index(layer(name)) > height]


def test_no_module_imports_itself_in_a_circle() -> None:
    try:
        TopologicalSorter({module: own_imports(module) for module in FILES}).prepare()
    except CycleError as error:
        pytest.fail(" → ".join(error.args[1]))


def test_the_lowest_layers_load_neither_torch_nor_another_heavy_package() -> None:
    heavy = {"torch", "sklearn", "scipy", "optuna", "polars", "pandas", "pyarrow", "plotly"}
    modules = [module for module in WITHOUT_TORCH if module in FILES]
    program = f"import sys, {', '.join(modules)}; print(*sorted({heavy!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (done.stdout.split(), done.stderr) == ([], "")


def test_optional_packages_are_imported_in_one_file_each() -> None:
    importers = defaultdict(set)
    for module in FILES:
        for name in imported(module):
            importers[name.split(".")[0]].add(module)
    assert not {name: importers[name] for name in OPTIONAL if len(importers[name]) > 1}


def test_nothing_that_is_read_can_run_code() -> None:
    found = [
        f"{module}:{line} {name}"
        for module in FILES
        for line, name, call in calls(module)
        if name in UNSAFE_CALLS and not (name == "torch.load" and "weights_only=True" in ast.unparse(call))
    ]
    found += [
        f"{module} imports {name}"
        for module in FILES
        for name in imported(module)
        if name in UNSAFE_CALLS or name.split(".")[0] in UNSAFE_MODULES
    ]
    assert set(found) == BETWEEN_OWN_PROCESSES


@pytest.mark.parametrize("module", FILES)
def test_messages_of_errors_pass_through_say(module: str) -> None:
    own_errors = {name for name, value in vars(errors).items() if isinstance(value, type)}
    bare = [
        line
        for line, name, call in calls(module)
        if name.rpartition(".")[2] in own_errors and any(is_bare_text(argument) for argument in call.args)
    ]
    assert not bare, "wrap the message in titrant.texts.say"


def is_bare_text(node: ast.expr) -> bool:
    """True for words in a literal, an f-string, a sum or a `.format` of such; separators between said texts are none."""
    match node:
        case ast.Constant(value=str(text)):
            return any(character.isalpha() for character in text)
        case ast.JoinedStr(values=parts):
            return any(is_bare_text(part) for part in parts)
        case ast.BinOp(left=left, right=right):
            return is_bare_text(left) or is_bare_text(right)
        case ast.Call(func=ast.Attribute(value=value, attr="format")):
            return is_bare_text(value)
        case _:
            return False


@pytest.mark.parametrize("module", FILES)
def test_say_gets_a_literal_and_exactly_the_values_it_names(module: str) -> None:
    for line, name, call in calls(module):
        if name.rpartition(".")[2] != "say":
            continue
        sentence = call.args[0] if len(call.args) == 1 else None
        assert isinstance(sentence, ast.Constant), f"line {line}: say takes one literal sentence, so that tools can collect it"
        given = {keyword.arg for keyword in call.keywords}
        if given:
            assert placeholders(sentence.value) == given, f"line {line}"


def placeholders(sentence: str) -> set[str]:
    """The names in a `str.format` sentence: `{column.name!r}` → `column`."""
    return {re.split(r"[.\[]", field)[0] for _, field, _, _ in string.Formatter().parse(sentence) if field is not None}


def test_no_file_names_a_path_of_one_machine_or_the_host_of_a_registry() -> None:
    listing = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listing.returncode:
        pytest.skip("only a git checkout knows which files belong to the project")
    # Written so that the patterns do not match themselves.
    forbidden = re.compile(
        r"(?<![\w.~-])/(?:work|root|opt|mnt|Users|home)/\w"
        r"|\b(?:pypi|pythonhosted|npmjs|anaconda|download\.pytorch)\.(?:org|com)\b"
        r"|--(?:extra-)?index[-]url|--find[-]links"
    )
    found = []
    for path in (ROOT / name for name in listing.stdout.split("\0") if name):
        content = path.read_bytes() if path.is_file() else b""
        if b"\0" not in content:
            lines = enumerate(content.decode("utf-8").splitlines(), 1)
            found += [f"{path.name}:{number} {line.strip()[:100]}" for number, line in lines if forbidden.search(line)]
    assert not found
