"""The wheel and the sdist: what they hold, and that an installed package needs no checkout."""

import contextlib
import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from email.parser import Parser
from pathlib import Path
from types import ModuleType

import pytest

from numdraw import __version__, _resources

ROOT = Path(__file__).parent.parent
SECONDS = 120  # a busy machine builds slowly
NOT_SOURCE = shutil.ignore_patterns(
    ".*", "__pycache__", "*.egg-info", "build", "dist", "*-ubyte*", "artefacts"
)


@pytest.fixture(scope="session")
def dists(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel and the sdist that it was built from; the checkout stays clean."""
    pytest.importorskip("build", reason="build is not installed: pip install numdraw[dev]")
    source = tmp_path_factory.mktemp("source") / "numdraw"
    shutil.copytree(ROOT, source, ignore=NOT_SOURCE)
    # What may lie around in a checkout and is nobody's business.
    (source / "data" / "train-images-idx3-ubyte").write_bytes(b"not to be shipped")
    (source / "tests" / "artefacts").mkdir()
    (source / "tests" / "artefacts" / "digit-7.png").write_bytes(b"")
    (source / "numdraw" / "__pycache__").mkdir()
    (source / "numdraw" / "__pycache__" / "old.cpython-310.pyc").write_bytes(b"")
    out = tmp_path_factory.mktemp("dist")
    run([sys.executable, "-m", "build", "--no-isolation", "--outdir", out, source])
    [wheel], [sdist] = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="session")
def installed(dists: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel installed into it, and nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    run([*pip, "--no-compile", "--target", folder, dists[0]])
    return folder


@pytest.fixture
def setup_py(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    spec = importlib.util.spec_from_file_location("numdraw_setup", ROOT / "setup.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(command: list[str | Path], **options: object) -> str:
    """Run a command to its end and return what it printed."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
        check=False,
        **options,  # type: ignore[call-overload]  # cwd and env
    )
    assert done.returncode == 0, done.stdout
    text = done.stdout
    assert isinstance(text, str)
    return text


def python(code: str, installed: Path, folder: Path) -> str:
    """Run code with the installed package, from a folder that knows nothing of the checkout."""
    environ = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    return run([sys.executable, "-c", code], cwd=folder, env=environ)


def files(folder: str, pattern: str = "*") -> set[str]:
    """The files under a folder of the checkout, as paths in it."""
    return {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / folder).rglob(pattern)
        if path.is_file() and not {"__pycache__", "artefacts"} & {*path.parts}
    }


def test_the_wheel_holds_the_code_the_page_and_the_weights(dists: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(dists[0]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    code = files("idx", "*.py") | files("numdraw", "*.py") | {"idx/py.typed", "numdraw/py.typed"}
    assert names == code | {f"numdraw/{name}" for name in files("public") | files("weights")}
    assert {"numdraw/public/index.html", "numdraw/weights/digits.npz"} <= names


def test_the_sdist_holds_the_tests_the_scripts_and_no_data(dists: tuple[Path, Path]) -> None:
    with tarfile.open(dists[1]) as sdist:
        names = {name.partition("/")[2] for name in sdist.getnames()}
    for folder in ("idx", "numdraw", "public", "weights", "nginx", "scripts", "tests"):
        assert files(folder) <= names, files(folder) - names
    assert {"setup.py", "pyproject.toml", "README.md", "LICENSE", "CHANGELOG.md"} <= names
    assert {name for name in names if name.startswith("data/")} == {
        "data/INK_SHA256SUMS",
        "data/README.md",
        "data/SHA256SUMS",
    }
    assert [name for name in names if "__pycache__" in name or "artefacts" in name] == []


def test_the_package_needs_numpy_and_nothing_else(dists: tuple[Path, Path]) -> None:
    with zipfile.ZipFile(dists[0]) as wheel:
        [name] = [name for name in wheel.namelist() if name.endswith(".dist-info/METADATA")]
        metadata = Parser().parsestr(wheel.read(name).decode())
    assert metadata["Name"] == "numdraw"
    assert metadata["Version"] == __version__
    assert metadata["Requires-Python"] == ">=3.10"
    required = metadata.get_all("Requires-Dist") or []
    assert [line for line in required if "extra ==" not in line] == ["numpy>=2.2"]
    extras = {extra for line in required for extra in re.findall(r'extra == "(\w+)"', line)}
    assert extras == {"serve", "train", "report", "mpi", "onnx", "torch", "bench", "dev"}
    served = [line.partition(";")[0] for line in required if 'extra == "serve"' in line]
    assert served == ["bjoern>=3.2.2"]


def test_the_installed_package_finds_its_own_page_and_weights(
    installed: Path, tmp_path: Path
) -> None:
    code = """
import numdraw
from numdraw import Predictor
from numdraw._resources import find
prediction = Predictor.load().predict([[[100, 60], [98, 130], [100, 200]]])
print(numdraw.__file__, find("public"), find("weights"), prediction.probabilities.shape, sep="\\n")
"""
    package = installed / "numdraw"
    assert python(code, installed, tmp_path).splitlines() == [
        str(package / "__init__.py"),
        str(package / "public"),
        str(package / "weights"),
        "(10,)",
    ]


def test_the_installed_package_serves_the_page_and_answers(installed: Path, tmp_path: Path) -> None:
    pytest.importorskip("bjoern", reason="bjoern is not installed: pip install bjoern")
    environ = {**os.environ, "PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "numdraw.serve", "--port", "0", "--no-access-log"],
        cwd=tmp_path,
        env=environ,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            assert server.stderr is not None
            said = ""
            while "ready at" not in said and (line := server.stderr.readline()):
                said += line
            [address] = re.findall(r"ready at (http://\S+)", said) or [said]
            with urllib.request.urlopen(address, timeout=SECONDS) as page:
                assert page.read() == (ROOT / "public" / "index.html").read_bytes()
            question = urllib.request.Request(
                f"{address}api/predict",
                b'{"strokes": [[[100, 60], [98, 130], [100, 200]]]}',
                {"Content-Type": "application/json"},
            )
            with urllib.request.urlopen(question, timeout=SECONDS) as answer:
                assert json.load(answer)["digit"] in range(10)
        finally:
            with contextlib.suppress(ProcessLookupError):
                server.send_signal(signal.SIGTERM)
    assert server.returncode == 0


@pytest.mark.parametrize(
    ("statement", "absent"),
    [
        ("import numdraw", {"numpy", "bjoern", "numdraw.predictor"}),
        ("import idx", {"numdraw", "bjoern"}),
        ("import numdraw.predictor", {"bjoern", "tqdm", "threadpoolctl", "matplotlib", "scipy"}),
        ("import numdraw.app", {"bjoern", "tqdm", "threadpoolctl", "numdraw.training"}),
        ("import numdraw.serve", {"numpy", "bjoern"}),
    ],
)
def test_an_import_brings_no_more_than_it_needs(
    statement: str, absent: set[str], installed: Path, tmp_path: Path
) -> None:
    code = f"import sys; {statement}; print(*sys.modules)"
    modules = set(python(code, installed, tmp_path).split())
    assert statement.removeprefix("import ") in modules
    assert modules & absent == set()


def test_the_version_is_read_without_numpy(setup_py: ModuleType) -> None:
    assert setup_py._version() == __version__
    assert "numpy" not in vars(setup_py)


def test_a_version_file_without_a_version_is_named(
    setup_py: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "numdraw").mkdir()
    (tmp_path / "numdraw" / "_version.py").write_text("version = 1\n")
    monkeypatch.setattr(setup_py, "HERE", tmp_path)
    with pytest.raises(ValueError, match=r'_version\.py expected a line __version__ = "\.\.\."'):
        setup_py._version()


def test_a_folder_is_found_in_the_package_first_then_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "numdraw"
    package.mkdir()
    monkeypatch.setattr(_resources, "__file__", str(package / "_resources.py"))
    (tmp_path / "public").mkdir()
    assert _resources.find("public") == tmp_path / "public"
    (package / "public").mkdir()
    assert _resources.find("public") == package / "public"


def test_a_missing_folder_is_named_with_the_fix(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_resources, "__file__", str(tmp_path / "numdraw" / "_resources.py"))
    message = rf"expected the folder public/ in {tmp_path}/numdraw or in {tmp_path}, got neither"
    with pytest.raises(FileNotFoundError, match=message):
        _resources.find("public")
