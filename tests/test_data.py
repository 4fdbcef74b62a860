import gzip
import hashlib
from pathlib import Path

import numpy as np
import pytest

import idx
from numdraw.data import data_folder, read_split, split_validation


def write(folder: Path, images: np.ndarray, labels: np.ndarray) -> Path:
    idx.write(folder / "train-images-idx3-ubyte", images)
    idx.write(folder / "train-labels-idx1-ubyte", labels)
    return folder


IMAGES, LABELS = np.zeros((3, 28, 28), np.uint8), np.arange(3, dtype=np.uint8)


def test_reads_the_real_files(mnist: Path) -> None:
    train, test = read_split(mnist, "train"), read_split(mnist, "t10k")
    assert train.images.shape == (60_000, 28, 28)
    assert test.images.shape == (10_000, 28, 28)
    # The first labels and the counts of each class are as LeCun et al. publish them.
    assert train.labels[:5].tolist() == [5, 0, 4, 1, 9]
    assert np.bincount(test.labels).tolist() == [
        980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009,
    ]  # fmt: skip  # shorter so


def test_reads_gz_where_plain_is_missing(tmp_path: Path) -> None:
    write(tmp_path, IMAGES, LABELS)
    path = tmp_path / "train-images-idx3-ubyte"
    packed = tmp_path / "train-images-idx3-ubyte.gz"
    packed.write_bytes(gzip.compress(path.read_bytes()))
    path.unlink()
    examples = read_split(tmp_path, "train")
    assert examples.images.shape == (3, 28, 28)
    assert examples.sha256[packed.name] == hashlib.sha256(packed.read_bytes()).hexdigest()


def test_missing_file_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(
        FileNotFoundError,
        match=r"expected train-images-idx3-ubyte or train-images-idx3-ubyte\.gz, got neither; "
        "run scripts/fetch-data, "
        "or name the folder that has the four MNIST files with --data or NUMDRAW_DATA",
    ):
        read_split(tmp_path, "train")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (np.zeros((3, 28, 27), np.uint8), LABELS, r"\(N, 28, 28\), got uint8 \(3, 28, 27\)"),
        (np.zeros((3, 28, 28), np.float32), LABELS, r"got float32 \(3, 28, 28\)"),
        (IMAGES, LABELS[:2], r"expected 3 uint8 labels, got uint8 \(2,\)"),
        (IMAGES, LABELS.astype(np.int32), r"expected 3 uint8 labels, got int32 \(3,\)"),
        (IMAGES, LABELS + np.uint8(8), "expected labels 0..9, got 10"),
    ],
)
def test_files_of_something_else_are_refused(
    tmp_path: Path, images: np.ndarray, labels: np.ndarray, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        read_split(write(tmp_path, images, labels), "train")


def test_split_is_a_partition_that_the_seed_decides(made_data: Path) -> None:
    examples = read_split(made_data, "train")
    splits = [split_validation(examples, 100, rng=np.random.default_rng(s)) for s in (1, 1, 2)]
    for train, valid in splits:
        assert (len(train), len(valid)) == (500, 100)
        everything = train.take(np.arange(len(train)))
        together = np.concatenate([everything.images, valid.images]).reshape(600, -1)
        assert len(np.unique(together, axis=0)) == 600
    assert (splits[0][1].images == splits[1][1].images).all()
    assert (splits[0][1].images != splits[2][1].images).any()


def test_split_keeps_labels_with_their_images(made_data: Path) -> None:
    _, valid = split_validation(read_split(made_data, "train"), 100, rng=np.random.default_rng(0))
    rows = (valid.images[:, :, 10] == 255).argmax(axis=1)  # see made_data: the bar's row
    assert (rows == 4 + 2 * valid.labels).all()


@pytest.mark.parametrize("count", [0, 600])
def test_split_wants_something_on_both_sides(made_data: Path, count: int) -> None:
    with pytest.raises(ValueError, match=f"expected more than {count} images to hold out .* 600"):
        split_validation(read_split(made_data, "train"), count, rng=np.random.default_rng(0))


def test_folder_is_the_one_given_then_the_environment_then_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NUMDRAW_DATA", "/elsewhere")
    assert data_folder("/given") == Path("/given")
    assert data_folder() == Path("/elsewhere")
    monkeypatch.delenv("NUMDRAW_DATA")
    assert data_folder() == Path("data")
