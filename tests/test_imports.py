"""Imports go one way: what each module may import of this project, directly or not."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import numdraw

ROOT = Path(__file__).parent.parent
WEB = {
    "wsgi", "static", "app", "openapi", "serve", "_answers", "_log", "_master", "_schemas",
    "_storing",
}  # fmt: skip  # reads easier in few lines
TRAINING = {
    "train", "training", "progress", "mpi", "augment", "data", "evaluate", "onnx", "report",
    "plots", "_page", "_signals",
}  # fmt: skip  # reads easier in few lines
LIBRARIES = {"numpy", "bjoern", "idx", "numdraw"}


def modules() -> dict[str, set[str]]:
    """Each module's own imports, by full names, those inside functions too."""
    paths = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
        for path in [*ROOT.glob("idx/*.py"), *ROOT.glob("numdraw/**/*.py")]
    }
    found = {}
    for name, path in paths.items():
        imports: set[str] = set()
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                imports |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom):
                assert node.level == 0, f"{name} imports relatively"
                module = node.module or ""
                for alias in node.names:  # a module of the package, or a name in the module
                    full = f"{module}.{alias.name}"
                    imports.add(full if full in paths else module)
        found[name] = imports
    return found


MODULES = modules()


def reached(name: str) -> set[str]:
    """Every module of the project that `name` imports, directly or not."""
    seen: set[str] = set()
    todo = [name]
    while todo:
        # numdraw/__init__ imports lazily, for users; what it names is nobody's dependency.
        for other in MODULES[todo.pop()] & MODULES.keys() - seen - {"numdraw"}:
            seen.add(other)
            todo.append(other)
    return seen


def own(short_names: set[str]) -> set[str]:
    names = {f"numdraw.{name}" for name in short_names}
    assert names <= MODULES.keys(), "a module was renamed"
    return names


def test_the_graph_is_seen() -> None:
    assert {"numdraw.preprocess", "numdraw.nn.layers"} <= reached("numdraw.predictor")
    assert {"numdraw.app", "numdraw.predictor"} <= reached("numdraw.serve")
    assert {"idx", "numdraw.data"} <= reached("numdraw.train")


@pytest.mark.parametrize("name", MODULES)
def test_no_cycles(name: str) -> None:
    assert name not in reached(name)


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] == "idx"])
def test_idx_knows_nothing_of_numdraw(name: str) -> None:
    assert not {i for i in MODULES[name] if i.split(".")[0] == "numdraw"}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("numdraw.nn")])
def test_nn_imports_only_nn(name: str) -> None:
    assert all(other.startswith("numdraw.nn") for other in reached(name))


@pytest.mark.parametrize("name", sorted(own(WEB)))
def test_web_code_never_imports_training(name: str) -> None:
    assert not reached(name) & own(TRAINING)


@pytest.mark.parametrize("name", sorted(own(TRAINING)))
def test_training_never_imports_web_code(name: str) -> None:
    assert not reached(name) & own(WEB)


def test_wsgi_and_static_know_nothing_of_digits() -> None:
    for name in ("numdraw.wsgi", "numdraw.static"):
        assert not reached(name) & {"numdraw.predictor", "numdraw.preprocess", "numdraw.app"}


@pytest.mark.parametrize(
    "name", sorted({"numdraw.predictor", "numdraw.serve"} | reached("numdraw.serve"))
)
def test_server_and_predictor_import_only_numpy_bjoern_and_the_standard_library(name: str) -> None:
    top = {i.split(".")[0] for i in MODULES[name]}
    # threadpoolctl holds BLAS to one thread in training and for large batches, of which a server
    # has neither
    others = top - LIBRARIES - set(sys.stdlib_module_names)
    assert others <= ({"threadpoolctl"} if name == "numdraw.nn.parallel" else set())


def test_import_numdraw_alone_imports_no_numpy() -> None:
    code = "import sys, numdraw; print('numpy' in sys.modules, numdraw.__version__)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.split() == ["False", numdraw.__version__]


def test_every_public_name_is_there_and_others_are_not() -> None:
    for name in numdraw.__all__:
        assert getattr(numdraw, name) is not None
        assert name in dir(numdraw)
    with pytest.raises(AttributeError, match="module 'numdraw' has no attribute 'Predicter'"):
        _ = numdraw.Predicter
