import contextlib
import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from numdraw.nn.checkpoint import FORMAT, CheckpointError, load_checkpoint, save_checkpoint

ARRAYS: dict[str, np.ndarray] = {
    "linear1.weight": np.arange(6, dtype=np.float32).reshape(2, 3),
    "empty": np.zeros((0, 4)),
    "count": np.array(7),
    "columns": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
}
META = {"seed": 3, "scores": {"error": 0.01}, "note": "é"}


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)  # type: ignore[arg-type]  # mypy takes them for allow_pickle
    return file.getvalue()


def test_round_trip(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "new" / "a.npz", ARRAYS, META)
    arrays, meta = load_checkpoint(tmp_path / "new" / "a.npz")
    sha256 = hashlib.sha256((tmp_path / "new" / "a.npz").read_bytes()).hexdigest()
    assert meta == {**META, "format": FORMAT, "sha256": sha256}
    assert arrays.keys() == ARRAYS.keys()
    for name, array in arrays.items():
        assert array.dtype == ARRAYS[name].dtype
        np.testing.assert_array_equal(array, ARRAYS[name])
    assert os.listdir(tmp_path / "new") == ["a.npz"]


def test_same_content_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.npz", "b.npz"):
        save_checkpoint(tmp_path / name, ARRAYS, META)
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_numpy_reads_it_too(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.npz", ARRAYS, META)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert json.loads(str(file["meta"]))["seed"] == 3
        np.testing.assert_array_equal(file["linear1.weight"], ARRAYS["linear1.weight"])


@pytest.mark.parametrize("step", ["numpy.savez", "os.fsync", "os.replace"])
def test_a_write_that_fails_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    path = tmp_path / "a.npz"
    save_checkpoint(path, ARRAYS, META)

    def fail(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(step, fail)
    with pytest.raises(OSError, match="No space left on device"):
        save_checkpoint(path, {"other": np.zeros(1)}, {})
    monkeypatch.undo()
    assert load_checkpoint(path)[1]["seed"] == 3
    assert os.listdir(tmp_path) == ["a.npz"]


def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path: Path) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    leftover, of_another = (
        tmp_path / f".a.npz.{ended.pid}.tmp",
        tmp_path / f".b.npz.{ended.pid}.tmp",
    )
    at_work, no_writers = tmp_path / f".a.npz.{os.getppid()}.tmp", tmp_path / ".a.npz.mine.tmp"
    for path in (leftover, of_another, at_work, no_writers):
        path.write_text("half")
    save_checkpoint(tmp_path / "a.npz", ARRAYS, META)
    kept = {path.name for path in (of_another, at_work, no_writers)}
    assert set(os.listdir(tmp_path)) == {"a.npz", *kept}


def test_meta_that_json_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        save_checkpoint(tmp_path / "a.npz", ARRAYS, {"loss": float("nan")})
    assert os.listdir(tmp_path) == []


def test_a_missing_file_is_file_not_found(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_checkpoint(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "expected an .npz checkpoint, got File is not a zip file"),
        (b"PK\x03\x04 not really", "expected an .npz checkpoint, got File is not a zip file"),
        (npz(a=np.zeros(3)), "expected a JSON text 'meta', got none"),
        (npz(meta=np.array([1.0])), "expected a JSON text 'meta', got none"),
        (npz(meta=np.array("{")), "expected JSON in 'meta', got"),
        (npz(meta=np.array("[" * 100_000)), "expected JSON in 'meta', got"),
        (npz(meta=np.array("[]")), "expected 'meta' with a number 'format', got none"),
        (npz(meta=np.array('{"format": "1"}')), "expected 'meta' with a number 'format', got none"),
        (npz(meta=np.array('{"format": 99}')), "expected format 1 or older, got 99; upgrade numd"),
        (npz(meta=np.array({}, dtype=object)), "expected .* got meta.npy with Python objects"),
    ],
)
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, data: bytes, message: str) -> None:
    path = tmp_path / "a.npz"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=f"{path} {message}".replace("(", r"\(")):
        load_checkpoint(path)


def test_a_compressed_member_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "a.npz", a=np.zeros(1_000_000))
    with pytest.raises(CheckpointError, match=r"a\.npy compressed, where members are stored"):
        load_checkpoint(tmp_path / "a.npz")


@pytest.mark.parametrize(
    "header", ["{", "{'a': 'b", "(1", "{'descr': '<f8', 'shape': (1,)}", "\\0"]
)
def test_a_header_that_is_no_header_is_refused(tmp_path: Path, header: str) -> None:
    magic = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", magic + header.encode())
    with pytest.raises(CheckpointError, match=r"expected an \.npz checkpoint, got"):
        load_checkpoint(tmp_path / "a.npz")


def test_a_member_of_another_npy_version_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", b"\x93NUMPY\x02\x00" + bytes(100))
    with pytest.raises(CheckpointError, match=r"a\.npy in \.npy version \(2, 0\), where it is"):
        load_checkpoint(tmp_path / "a.npz")


def test_a_header_larger_than_its_member_takes_no_memory(tmp_path: Path) -> None:
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, {"descr": "<f8", "fortran_order": False, "shape": (1 << 50,)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("a.npy", header.getvalue() + bytes(16))
    with pytest.raises(CheckpointError, match=r"a\.npy of \(1125899906842624,\) float64 in"):
        load_checkpoint(tmp_path / "a.npz")


@settings(
    max_examples=300, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_mutated_files_raise_nothing_but_checkpoint_error(
    tmp_path: Path, data: st.DataObject
) -> None:
    path = tmp_path / "a.npz"
    save_checkpoint(path, ARRAYS, META)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    del content[data.draw(st.integers(0, len(content)) | st.just(len(content))) :]
    path.write_bytes(content)
    with contextlib.suppress(CheckpointError):
        load_checkpoint(path)
