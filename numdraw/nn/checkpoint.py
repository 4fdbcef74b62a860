"""Checkpoints: named arrays and one JSON text in an .npz file, written whole or not at all.

    member           content
    <name>.npy       one array a name; never an object array (nothing is unpickled)
    meta.npy         a 0-d string array: JSON of an object, its "format" a whole number

The members are stored, not compressed, so that their sizes are known before they are read.
"""

import glob
import hashlib
import io
import json
import math
import os
import tokenize
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeAlias

import numpy as np

from numdraw.nn.layers import Array

FORMAT = 1  # raised when a reader of the old format could not read the new one

# What zipfile and NumPy raise on the way to saying that bytes are not theirs.
_DAMAGED = (
    zipfile.BadZipFile,
    ValueError,
    EOFError,
    OSError,
    RuntimeError,
    SyntaxError,  # of a header, which is a dict in Python's own words
    tokenize.TokenError,
)

PathLike: TypeAlias = str | os.PathLike[str]


class CheckpointError(ValueError):
    """A file that is no checkpoint, or one of another network."""


def save_checkpoint(path: PathLike, arrays: Mapping[str, Array], meta: Mapping[str, Any]) -> None:
    """Write a checkpoint, whole or not at all: see `written_whole`.

    The same arrays and meta give the same bytes.

    Args:
        path: the .npz file; its folder is made where it is missing.
        arrays: by name; not "meta".
        meta: what JSON can hold; "format" is added.

    Raises:
        TypeError, ValueError: JSON can't hold the meta.
        OSError: the folder cannot be written to, or the disk is full. An old file is unharmed.
    """
    text = json.dumps({"format": FORMAT, **meta}, sort_keys=True, allow_nan=False)
    with written_whole(path) as file:
        np.savez(file, allow_pickle=False, **{**arrays, "meta": np.array(text)})


@contextmanager
def written_whole(path: PathLike) -> Iterator[BinaryIO]:
    """A file to write to, that takes the path's place when the block ends without an error.

    It is a temporary file beside it, flushed to the disk, then renamed. Whoever reads the path, at
    any moment and after any crash, finds the old file or the new one.

    Args:
        path: the file; its folder is made where it is missing.

    Raises:
        OSError: the folder cannot be written to, or the disk is full. An old file is unharmed.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.filename is None:  # where the disk is full
            error.filename = str(path)
        raise
    _sync_folder(path.parent)


def _remove_leftovers(path: Path) -> None:
    """Remove the temporary files of writers that were killed in the middle."""
    for leftover in path.parent.glob(f".{glob.escape(path.name)}.*.tmp"):
        pid = leftover.name.split(".")[-2]
        if pid.isdecimal() and not _runs(int(pid)):
            leftover.unlink(missing_ok=True)


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)  # asks, and sends nothing
    except ProcessLookupError:
        return False
    except (OSError, OverflowError):
        pass  # another user's, or no process's number
    return True


def load_checkpoint(path: PathLike) -> tuple[dict[str, Array], dict[str, Any]]:
    """The arrays and the meta of a checkpoint.

    Returns:
        The arrays by name, and the meta with "sha256", the file's own.

    Raises:
        CheckpointError: the file is damaged, no checkpoint, or of a newer format.
        FileNotFoundError: there is no such file.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            members = {
                info.filename.removesuffix(".npy"): _read_member(archive, info)
                for info in archive.infolist()
            }
    except FileNotFoundError:
        raise
    except _DAMAGED as error:
        raise CheckpointError(f"{path} expected an .npz checkpoint, got {error}") from error
    meta = _parse_meta(path, members)
    return members, {**meta, "sha256": hashlib.sha256(content).hexdigest()}


def _read_member(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Array:
    """One array, its header held against the size of the member before memory is taken for it."""
    if info.compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{info.filename} compressed, where members are stored")
    content = archive.read(info)  # its checksum is right, or this raises
    member = io.BytesIO(content)
    version = np.lib.format.read_magic(member)
    if version != (1, 0):
        raise ValueError(f"{info.filename} in .npy version {version}, where it is (1, 0)")
    shape, fortran, dtype = np.lib.format.read_array_header_1_0(member)
    if dtype.hasobject:
        raise ValueError(f"{info.filename} with Python objects")
    nbytes = math.prod(shape) * dtype.itemsize
    if min(shape, default=0) < 0 or member.tell() + nbytes != len(content):
        raise ValueError(f"{info.filename} of {shape} {dtype} in {len(content)} bytes")
    array = np.frombuffer(bytearray(content[member.tell() :]), dtype)
    return array.reshape(shape, order="F" if fortran else "C")


def _parse_meta(path: Path, members: dict[str, Array]) -> dict[str, Any]:
    text = members.pop("meta", None)
    if text is None or text.dtype.kind != "U" or text.ndim != 0:
        raise CheckpointError(f"{path} expected a JSON text 'meta', got none")
    try:
        meta = json.loads(str(text))
    except (ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} expected JSON in 'meta', got {error}") from error
    if not isinstance(meta, dict) or not isinstance(meta.get("format"), int):
        raise CheckpointError(f"{path} expected 'meta' with a number 'format', got none")
    if meta["format"] > FORMAT:
        raise CheckpointError(
            f"{path} expected format {FORMAT} or older, got {meta['format']}; upgrade numdraw"
        )
    return meta


def _sync_folder(folder: Path) -> None:
    """Make a rename outlast a power cut; a system that cannot open folders has no such call."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
    except OSError:
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
