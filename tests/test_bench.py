"""scripts/bench train, predict and serve run and write figures. What these are is not tested."""

import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
NEEDED = ("torch", "sklearn", "onnx", "onnxruntime", "matplotlib")
SERVERS = ("bjoern", "fastapi", "uvicorn", "flask", "gunicorn")
LATE = 300  # seconds, on a very busy machine

pytestmark = pytest.mark.skipif(
    not all(map(find_spec, NEEDED)),
    reason="not all of the extra bench is installed: pip install 'numdraw[bench]'",
)


def bench(name: str, *args: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `scripts/bench NAME --quick`, on one thread: PyTorch's threads would wait for a core."""
    return subprocess.run(
        [ROOT / "scripts" / "bench", name, "--quick", "--threads", "1", *args],
        env={**os.environ, "NUMDRAW_VENV": sys.prefix, **environment},
        capture_output=True, text=True, timeout=LATE,
    )  # fmt: skip  # shorter so


def figures(path: Path) -> Any:
    """What a benchmark wrote, if every number in it is finite and none is below 0."""
    found = json.loads(path.read_text())
    assert all(math.isfinite(number) and number >= 0 for number in numbers(found))
    return found


def numbers(value: Any) -> Iterator[float]:
    """All numbers in what JSON can hold."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, int | float):
        yield value


def check_figures(of_sides: dict[str, dict[str, float]], sides: set[str]) -> None:
    """Each side has a median and a best, which are not 0."""
    assert of_sides.keys() == sides
    for its in of_sides.values():
        assert its["median"] > 0
        assert its["best"] > 0
        assert its["rounds"] == 2


def test_train_measures_every_side(made_data: Path, tmp_path: Path) -> None:
    out, plot = tmp_path / "train.json", tmp_path / "time.svg"
    done = bench(
        "train", "--data", made_data, "--accuracy", "--plot", plot, "--json", out,
        OPENBLAS_CORETYPE="Haswell",
    )  # fmt: skip  # shorter so
    assert (done.returncode, done.stderr) == (0, "")
    assert "OPENBLAS_CORETYPE is set" in done.stdout
    found = figures(out)
    assert found.keys() == {
        "bench", "left_out", "machine", "products", "training", "memory", "accuracy"
    }  # fmt: skip  # shorter so
    assert found["left_out"] == []
    assert found["machine"].keys() == {
        "cpu", "cores", "load", "python", "numpy", "blas", "kernels", "threads", "settings",
        "versions",
    }  # fmt: skip  # shorter so
    assert found["machine"]["settings"]["OPENBLAS_CORETYPE"] == "Haswell"
    assert "PyTorch" in found["machine"]["versions"]
    assert all(product["flop/s"]["median"] > 0 for product in found["products"])
    sides = {
        "lenet": {"numdraw", "PyTorch", "channels_last"},
        "convnet": {"numdraw", "PyTorch", "channels_last"},
        "mlp": {"numdraw", "PyTorch", "scikit-learn"},
    }
    assert [result["net"] for result in found["training"]] == list(sides)
    for result in found["training"]:
        check_figures(result["images/s"], sides[result["net"]])
        assert result["ratio"].keys() == sides[result["net"]] - {"numdraw"}
        assert result["ratio to PyTorch's best"] > 0
        assert result["share of products"] > 0
    # LeNet's products: 24 * 24 * 25 * 16, 8 * 8 * 400 * 32, 512 * 128 and 128 * 10 pairs of
    # numbers, each of them multiplied and added; nobody asks for the first layer's input gradient
    forward = 2 * (230_400 + 819_200 + 65_536 + 1_280)
    inputs = forward - 2 * 230_400
    assert found["training"][0]["flop an image"] == {
        "forward": forward, "weights": forward, "inputs": inputs, "total": 2 * forward + inputs
    }  # fmt: skip  # shorter so
    for result in found["memory"]:
        assert result["taken"] == result["data"] + result["beyond"]
        assert result["beyond"] > 0
    for points in found["accuracy"]["points"].values():
        assert len(points) == found["accuracy"]["epochs"] == 2
        assert 0 < points[0]["seconds"] < points[1]["seconds"]
        assert all(0 <= point["validation_error"] <= 1 for point in points)
    assert found["accuracy"]["seconds to"].keys() == found["accuracy"]["points"].keys()
    assert "<svg" in plot.read_text()


def test_predict_measures_every_side(tmp_path: Path) -> None:
    out = tmp_path / "predict.json"
    done = bench("predict", "--json", out)
    assert (done.returncode, done.stderr) == (0, "")
    found = figures(out)
    assert found.keys() == {"bench", "left_out", "machine", "one image", "batch", "drawing"}
    assert found["left_out"] == []
    for kind, unit in (("one image", "us"), ("batch", "images/s")):
        assert [result["net"] for result in found[kind]] == ["lenet", "convnet", "mlp"]
        for result in found[kind]:
            sides = {"numdraw", "PyTorch", "onnxruntime"}
            sides |= {"channels_last"} if result["net"] != "mlp" else set()
            sides |= {"in parts"} if kind == "batch" else set()
            check_figures(result[unit], sides)
            assert result["ratio"].keys() == sides - {"numdraw"}
            assert result["ratio to PyTorch's best"] > 0
    assert found["drawing"]["us"].keys() == {
        *("whole", "preprocessing", "network", "without confidence", "as a number")
    }
    assert all(share > 0 for share in found["drawing"]["share"].values())


def test_what_is_not_installed_is_left_out_and_named(tmp_path: Path) -> None:
    # Python imports a module of this name by itself when it starts.
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "missing = {'torch', 'onnxruntime'}\n"
        "importlib.util.find_spec = lambda name: None if name in missing else find(name)\n"
    )
    out = tmp_path / "predict.json"
    done = bench("predict", "--json", out, PYTHONPATH=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")
    assert "left out: PyTorch: not installed; " in done.stdout
    found = figures(out)
    assert [left["what"] for left in found["left_out"]] == ["PyTorch", "onnxruntime"]
    assert all(result["us"].keys() == {"numdraw"} for result in found["one image"])


def test_missing_data_is_named(tmp_path: Path) -> None:
    done = bench("train", "--data", tmp_path)
    assert done.returncode == 1
    assert f"bench train: ours.training expected an answer, got FileNotFoundError: {tmp_path}" in (
        done.stderr
    )


def test_a_plot_without_accuracy_is_refused(tmp_path: Path) -> None:
    done = bench("train", "--plot", tmp_path / "time.svg")
    assert done.returncode == 2
    assert "--plot expected --accuracy, got it alone" in done.stderr


def test_scores_compares_all_ways(made_data: Path, tmp_path: Path) -> None:
    """On a few drawings: a line and a circle are told from crosses by what numdraw uses."""
    circle = [[50 * math.cos(k / 4), 50 * math.sin(k / 4)] for k in range(26)]
    digits = [
        {"label": "1", "strokes": [[[50 + tilt, 0], [50, 100]]]} for tilt in range(-10, 15, 5)
    ] + [{"label": "0", "strokes": [circle]}]
    others = [
        {"label": "cross", "strokes": [[[0, k], [90, 90]], [[90, 0], [0, 90]], [[0, 50], [90, 50]]]}
        for k in range(0, 40, 5)
    ]
    for name, lines in ("digits", digits), ("others", others):
        text = "".join(json.dumps(line) + "\n" for line in lines)
        (tmp_path / f"{name}.jsonl").write_text(text)
    done = subprocess.run(
        [
            ROOT / "scripts" / "bench", "scores", "--data", made_data,
            "--json", tmp_path / "a.json",
            "--drawings", tmp_path / "digits.jsonl", "--not-digits", tmp_path / "others.jsonl",
        ],
        env={**os.environ, "NUMDRAW_VENV": sys.prefix},
        capture_output=True, text=True, timeout=LATE,
    )  # fmt: skip  # shorter so
    assert (done.returncode, done.stderr) == (0, "")
    assert "6 digits, 8 that are none" in done.stdout
    found = json.loads((tmp_path / "a.json").read_text())
    ways = {"confidence", "likeliest of ten", "energy", "no digit", "log odds"}
    ways |= {"distance", "relative"}
    assert ways <= found.keys()
    assert all(0 <= found[way]["auroc"] <= 1 for way in ways)
    assert found["log odds"] == found["log odds"] | {"auroc": 1.0, "fpr95": 0.0}


def bench_serve(*args: str | Path, **environment: str) -> "subprocess.CompletedProcess[str]":
    """Run `scripts/bench serve --quick`."""
    return subprocess.run(
        [ROOT / "scripts" / "bench", "serve", "--quick", *args],
        env={**os.environ, "NUMDRAW_VENV": sys.prefix, **environment},
        capture_output=True, text=True, timeout=LATE,
    )  # fmt: skip  # shorter so


def has_program(name: str) -> bool:
    """Whether scripts/bench would find it."""
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join([beside, os.environ["PATH"], "/usr/local/sbin", "/usr/sbin", "/sbin"])
    return shutil.which(name, path=path) is not None


@pytest.mark.skipif(
    not (has_program("wrk") and has_program("nginx") and all(map(find_spec, SERVERS))),
    reason="not all of wrk, nginx and the servers is installed: apt-get install wrk nginx-light, "
    "pip install 'numdraw[bench,serve]'",
)
def test_serve_measures_every_server(tmp_path: Path) -> None:
    out = tmp_path / "serve.json"
    done = bench_serve("--json", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert "all read 5 drawings as numdraw does" in done.stdout
    found = figures(out)
    assert found.keys() == {
        "bench", "left_out", "machine", "drawings", "first answer, ms", "saturated",
        "two workers", "where, us", "unread", "steady", "memory, bytes", "targets",
    }  # fmt: skip  # shorter so
    left_out = {left["what"] for left in found["left_out"]}
    assert left_out == (set() if has_program("k6") else {"latency"})
    of_servers = ("numdraw", "FastAPI", "Flask")
    predict = "POST /api/predict"
    assert {tuple(its[k] for k in ("server", "path", "workers", "request"))
            for its in found["saturated"]} == {
        ("numdraw", "direct", 1, predict),
        ("numdraw", "nginx", 1, predict),
        *((name, "nginx", 2, predict) for name in of_servers),
        ("numdraw", "nginx", 1, "GET /hello/"),
        ("bjoern alone", "nginx", 1, "GET /hello/"),
        ("bjoern alone", "nginx", 1, predict),
        ("numdraw, unread", "direct", 1, predict),
        ("FastAPI, unread", "direct", 1, predict),
    }  # fmt: skip  # shorter so
    for its in found["saturated"]:
        assert its["answers/s"]["median"] > 0
        assert its["CPU us an answer"]["server"] > 0
        assert its["failed"] == 0
    assert found["two workers"].keys() == {"numdraw, nginx"}
    assert found["where, us"]["nginx"]["application: the prediction"] > 0
    assert found["unread"].keys() == {"numdraw", "FastAPI"}
    assert len(found["steady"]) == (1 if has_program("k6") else 0)
    for steady in found["steady"]:
        assert (steady["server"], steady["path"], steady["rate"]) == ("numdraw", "nginx", 200)
        assert steady["requests"] > 0
        assert steady["failed"] == 0
        assert 0 < steady["p50"] <= steady["p99"] <= steady["max"]
    assert found["first answer, ms"].keys() == found["memory, bytes"].keys() == set(of_servers)
    for processes in found["memory, bytes"].values():
        assert len(processes) >= 3  # a master and two workers
        assert all(0 < its["private"] <= its["proportional"] for its in processes)


@pytest.mark.skipif(not find_spec("bjoern"), reason="bjoern is not installed: pip install bjoern")
def test_serve_names_what_is_missing_and_goes_on(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util\n"
        "find = importlib.util.find_spec\n"
        "missing = {'uvicorn', 'flask'}\n"
        "importlib.util.find_spec = lambda name: None if name in missing else find(name)\n"
    )
    out, nowhere = tmp_path / "serve.json", str(tmp_path / "none")
    done = bench_serve(
        "--json", out, PYTHONPATH=str(tmp_path), NUMDRAW_DRAWINGS=nowhere,
        NUMDRAW_WRK=nowhere, NUMDRAW_K6=nowhere, NUMDRAW_NGINX=nowhere,
    )  # fmt: skip  # shorter so
    assert (done.returncode, done.stderr) == (0, "")
    assert "300 made up by numdraw.glyphs" in done.stdout
    assert "left out: nginx: not installed; apt-get install nginx-light brings it" in done.stdout
    found = figures(out)
    assert [left["what"] for left in found["left_out"]] == [
        "uvicorn", "Flask", "nginx", "saturated rates", "latency"
    ]  # fmt: skip  # shorter so
    assert found["first answer, ms"].keys() == found["memory, bytes"].keys() == {"numdraw"}
    assert "saturated" not in found
