import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import idx
from numdraw import train
from numdraw._pairs import ink_files
from numdraw.corrections import Corrections
from numdraw.data import read_split
from numdraw.nn.checkpoint import load_checkpoint, save_checkpoint
from numdraw.predictor import Predictor
from tests.asking import SEVEN
from tests.commands import SMALL, run, run_stopped

ROOT = Path(__file__).parent.parent


def test_writes_weights_that_predictor_reads(
    made_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new" / "digits.npz"
    assert run(made_data, out, *SMALL) == 0
    meta = Predictor.load(out).meta
    assert meta["command"] == (
        "python -m numdraw.train --arch mlp --epochs 3 --batch-size 64 --lr 0.002 --seed 5 "
        "--hidden 16 --validation 100"
    )
    assert meta["scores"]["test"]["images"] == 100
    assert meta["scores"]["validation"]["images"] == 100
    assert len(meta["history"]) == 3
    assert sorted(meta["data"]) == sorted(os.listdir(made_data))
    assert os.listdir(out.parent) == ["digits.npz"]
    shown = capsys.readouterr().err
    for text in ("linear1", "500 images to train on, 100 to validate on", "epoch 3/3", " left\n"):
        assert text in shown
    assert f"wrote {out}" in shown


@pytest.fixture
def with_ink(made_data: Path, tmp_path: Path) -> Path:
    """The made data, with a pair of digits and a pair of what is none beside it."""
    folder = tmp_path / "data"
    shutil.copytree(made_data, folder)
    rng = np.random.default_rng(1)
    for split, count in (("train", 90), ("valid", 30)):
        for name, labels in (
            ("hand", rng.integers(0, 10, count)),
            ("house", np.full(count, 10)),
        ):
            images = rng.integers(0, 60, (count, 28, 28))
            for image, label in zip(images, labels, strict=True):
                image[4 + 2 * label : 6 + 2 * label, 4:24] = 255
            images_path, labels_path = ink_files(folder, name, split)
            idx.write(images_path, images.astype(np.uint8))
            idx.write(labels_path, labels.astype(np.uint8))
    return folder


def test_other_ink_is_used_told_and_recorded(
    with_ink: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(with_ink, tmp_path / "a.npz", *SMALL) == 0
    predictor = Predictor.load(tmp_path / "a.npz")
    meta = predictor.meta
    assert meta["trained_on"] == {"mnist": 500, "hand": 90, "house": 90}
    assert meta["architecture"]["outputs"] == 11
    assert sorted(meta["data"]) == sorted(os.listdir(with_ink))
    scores = meta["scores"]
    assert [scores[name]["images"] for name in ("validation", "drawn validation", "no digit")] == [
        *(100, 30, 30)
    ]
    shown = capsys.readouterr().err
    assert "680 images to train on, 560 of them an epoch, 160 to validate on; " in shown
    assert "; mnist 500, hand 90, house 90\n" in shown
    assert re.search(r"\nno digit: AUROC \d+\.\d\d%, FPR at 95% TPR", shown)


def test_no_ink_trains_on_mnist_alone(with_ink: Path, made_data: Path, tmp_path: Path) -> None:
    assert run(with_ink, tmp_path / "a.npz", *SMALL, "--no-ink", "--quiet") == 0
    meta = Predictor.load(tmp_path / "a.npz").meta
    assert meta["command"].endswith(" --validation 100 --no-ink")
    assert meta["trained_on"] == {"mnist": 500}
    assert run(made_data, tmp_path / "b.npz", *SMALL, "--quiet") == 0
    alone = Predictor.load(tmp_path / "b.npz").meta
    assert (meta["architecture"], meta["data"]) == (alone["architecture"], alone["data"])


def test_a_training_with_ink_resumes_to_the_same_bytes(
    with_ink: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(with_ink, tmp_path / "whole.npz", *SMALL, "--quiet") == 0
    assert run_stopped(monkeypatch, with_ink, tmp_path / "cut.npz") == 130
    assert run(with_ink, tmp_path / "cut.npz", "--resume", "--quiet") == 0
    assert (tmp_path / "cut.npz").read_bytes() == (tmp_path / "whole.npz").read_bytes()


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    """A server's folder of corrections: a seven, what is no digit, and a number."""
    store = Corrections(tmp_path / "kept")
    for label in ("7", "", "77"):
        store.add(SEVEN, label, read="1", confidence=0.5, model="mlp-1f3a9c20")
    return store.folder


def test_corrections_are_other_ink(
    with_ink: Path, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(with_ink, tmp_path / "a.npz", *SMALL, "--corrections", str(kept)) == 0
    meta = Predictor.load(tmp_path / "a.npz").meta
    assert meta["trained_on"] == {"mnist": 500, "hand": 90, "house": 90, "corrections": 2}
    pair = [path.name for path in ink_files(kept, "corrections", "train")]
    assert sorted(meta["data"]) == sorted([*os.listdir(with_ink), *pair])
    assert meta["data"][pair[0]] == hashlib.sha256((kept / pair[0]).read_bytes()).hexdigest()
    assert "; mnist 500, hand 90, house 90, corrections 2\n" in capsys.readouterr().err


def test_corrections_are_used_without_other_ink(
    made_data: Path, kept: Path, tmp_path: Path
) -> None:
    out = tmp_path / "a.npz"
    assert run(made_data, out, *SMALL, "--corrections", str(kept), "--quiet") == 0
    meta = Predictor.load(out).meta
    assert meta["trained_on"] == {"mnist": 500, "corrections": 2}
    assert meta["architecture"]["outputs"] == 11  # one of them is of no digit


def test_a_training_with_corrections_resumes_with_the_same_ones_alone(
    with_ink: Path,
    kept: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    given = ["--corrections", str(kept)]
    whole, cut = tmp_path / "whole.npz", tmp_path / "cut.npz"
    assert run(with_ink, whole, *SMALL, *given, "--quiet") == 0
    assert run_stopped(monkeypatch, with_ink, cut, *given) == 130
    assert f" --corrections {kept}" in capsys.readouterr().err
    assert run(with_ink, cut, "--resume", "--quiet") == 1
    assert "name their folders with --data and --corrections" in capsys.readouterr().err
    assert run(with_ink, cut, "--resume", "--quiet", *given) == 0
    assert cut.read_bytes() == whole.read_bytes()


def test_corrections_and_no_ink_exclude_each_other(
    made_data: Path, kept: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--no-ink", "--corrections", str(kept)]
    assert run(made_data, tmp_path / "a.npz", *SMALL, *given) == 1
    assert "expected --corrections or --no-ink, got both" in capsys.readouterr().err


def test_a_folder_without_corrections_is_named(
    made_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made_data, tmp_path / "a.npz", *SMALL, "--corrections", str(tmp_path)) == 1
    assert "--corrections expected " in capsys.readouterr().err


def test_half_a_pair_of_ink_is_named(
    with_ink: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (with_ink / "ink-hand-train-labels-idx1-ubyte").unlink()
    assert run(with_ink, tmp_path / "a.npz", *SMALL) == 1
    assert "expected ink-hand-train-labels-idx1-ubyte" in capsys.readouterr().err


def test_same_seed_same_file_for_any_threads(made_data: Path, tmp_path: Path) -> None:
    files = set()
    for threads in ("1", "2", "999999999"):  # a batch has work for three
        arguments = [*SMALL, "--batch-size", "192", "--threads", threads, "--quiet"]
        assert run(made_data, tmp_path / "a.npz", *arguments) == 0
        files.add((tmp_path / "a.npz").read_bytes())
    assert len(files) == 1


def test_no_test_leaves_the_test_files_unread(
    made_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "numdraw.train.read_split",
        lambda folder, split: read_split(folder, {"train": "train"}[split]),
    )
    assert run(made_data, tmp_path / "a.npz", *SMALL, "--no-test", "--quiet") == 0
    assert "test" not in Predictor.load(tmp_path / "a.npz").meta["scores"]


def test_missing_data_says_how_to_get_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, tmp_path / "a.npz") == 1
    assert "got neither; run scripts/fetch-data" in capsys.readouterr().err


def test_missing_test_files_are_found_out_before_training(
    made_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "half"
    folder.mkdir()
    for path in made_data.glob("train-*"):
        (folder / path.name).symlink_to(path)
    assert run(folder, tmp_path / "a.npz", *SMALL) == 1
    shown = capsys.readouterr().err
    assert "expected t10k-images-idx3-ubyte" in shown
    assert "epoch" not in shown
    assert run(folder, tmp_path / "a.npz", *SMALL, "--no-test", "--quiet") == 0


def test_ctrl_c_while_scoring_says_how_to_go_on(
    made_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "my digits.npz"

    def interrupt(*arguments: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("numdraw.train.calibrate", interrupt)
        assert run(made_data, out, *SMALL, "--quiet", "--no-test") == 130
    assert capsys.readouterr().err == (
        f"go on with: python -m numdraw.train --resume --out '{out}' --data {made_data} "
        "--no-test --quiet\n"
    )
    assert run(made_data, out, "--resume", "--quiet", "--no-test") == 0
    assert Predictor.load(out).meta["kept_epoch"] == 3


def test_a_full_disk_at_the_end_loses_nothing(
    made_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "a.npz"
    save = save_checkpoint

    def fail(path: Path, *rest: Any) -> None:
        if path == out:
            raise OSError(28, "No space left on device")
        save(path, *rest)

    with monkeypatch.context() as patch:
        patch.setattr("numdraw.train.save_checkpoint", fail)
        assert run(made_data, out, *SMALL, "--quiet") == 1
    shown = capsys.readouterr().err
    assert "go on with: python -m numdraw.train --resume" in shown
    assert "No space left on device" in shown
    assert run(made_data, out, "--resume", "--quiet") == 0
    assert out.exists()


@pytest.mark.parametrize("network", [SMALL, ["--fast", "--epochs", "2", "--validation", "100"]])
def test_a_training_that_diverges_says_what_to_do(
    network: list[str], made_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made_data, tmp_path / "a.npz", *network, "--quiet", "--lr", "1e30") == 1
    shown = capsys.readouterr().err
    assert shown.count("\n") == 1
    assert "train anew with a lower --lr than 1e+30; delete " in shown
    assert f"{tmp_path / 'a.checkpoint.npz'} first" in shown


def test_outputs_of_like_names_have_checkpoints_of_their_own(
    made_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("m-0.1", "m-0.2", "m.npz"):
        assert run_stopped(monkeypatch, made_data, tmp_path / name) == 130
    assert sorted(os.listdir(tmp_path)) == [
        "m-0.1.checkpoint.npz", "m-0.2.checkpoint.npz", "m.checkpoint.npz",
    ]  # fmt: skip  # shorter so


def test_resume_without_a_checkpoint_is_refused(
    made_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made_data, tmp_path / "a.npz", "--resume") == 1
    path = tmp_path / "a.checkpoint.npz"
    assert capsys.readouterr().err == (
        f"numdraw.train: --resume expected {path}, got no such file; start anew without --resume\n"
    )


def test_gradients_beyond_all_numbers_stop_the_training_before_the_parameters_change(
    made_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    from numdraw.nn.network import Sequential

    backward = Sequential.backward

    def spoilt(network: Sequential, dout: np.ndarray) -> None:
        backward(network, dout)
        network.grads[3] = np.inf

    out = tmp_path / "a.npz"
    with monkeypatch.context() as patch:
        patch.setattr(Sequential, "backward", spoilt)
        assert run(made_data, out, *SMALL, "--quiet") == 1
    assert "got a gradient of NaN or inf in batch 1 of epoch 1; train anew with a lower --lr" in (
        capsys.readouterr().err
    )
    assert run(made_data, out, "--resume", "--quiet") == 0  # the last checkpoint is unharmed


def test_hidden_layers_are_refused_for_other_networks(
    made_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(made_data, tmp_path / "a.npz", "--fast", "--hidden", "16") == 1
    assert "--hidden expected --arch mlp, got convnet" in capsys.readouterr().err


@pytest.mark.parametrize("batch", [1, 4, 8])
def test_ctrl_c_saves_and_resume_goes_on_to_the_same_file(
    batch: int,
    made_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole, parts = tmp_path / "whole.npz", tmp_path / "parts.npz"
    assert run(made_data, whole, *SMALL, "--quiet") == 0
    assert run_stopped(monkeypatch, made_data, parts, batch=batch) == 130
    checkpoint = tmp_path / "parts.checkpoint.npz"
    assert capsys.readouterr().err == (
        f"stopped in epoch 2, batch {batch}; saved to {checkpoint}\n"
        f"go on with: python -m numdraw.train --resume --out {parts} --data {made_data} --quiet\n"
    )
    assert not parts.exists()
    assert run(made_data, parts, "--resume", "--threads", "1") == 0
    assert parts.read_bytes() == whole.read_bytes()
    assert not checkpoint.exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_unfinished_training_is_neither_overwritten_nor_changed(
    made_data: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, checkpoint = tmp_path / "a.npz", tmp_path / "a.checkpoint.npz"
    run_stopped(monkeypatch, made_data, out)
    before = checkpoint.read_bytes()
    capsys.readouterr()
    assert run(made_data, out, *SMALL) == 1
    assert "expected not to exist, got an unfinished training; go on with --resume" in (
        capsys.readouterr().err
    )
    assert run(made_data, out, "--resume", "--batch-size", "32") == 1
    assert capsys.readouterr().err == (
        f"numdraw.train: --resume expected --batch-size 64 as in {checkpoint}, got 32\n"
    )
    assert checkpoint.read_bytes() == before


def test_a_folder_that_cannot_be_written_to_is_found_out_at_once(
    made_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert run(made_data, tmp_path / "file" / "a.npz", *SMALL) == 1
    shown = capsys.readouterr().err
    assert str(tmp_path / "file") in shown
    assert "epoch" not in shown


def test_kept_weights_are_the_best_epochs(made_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "a.npz"
    run(made_data, out, *SMALL, "--quiet")
    meta = load_checkpoint(out)[1]
    best = meta["history"][meta["kept_epoch"] - 1]
    assert meta["scores"]["validation"]["error"] == best["validation_error"]
    assert best["validation_error"] == min(e["validation_error"] for e in meta["history"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["--epochs", "0"],
            "argument --epochs: expected a whole number from 1 to 999999999, got '0'",
        ),
        (
            ["--batch-size", "x"],
            "argument --batch-size: expected a whole number from 1 to 999999999, got 'x'",
        ),
        (["--epochs", "9" * 400], "argument --epochs: expected a whole number from 1 to 999999999"),
        (["--out", ""], "argument --out: expected the name of a file, got ''"),
        (["--out", "/"], "argument --out: expected the name of a file, got '/'"),
        (["--out", "/tmp"], "argument --out: expected the name of a file, got '/tmp'"),
        (["--threads", "-1"], "argument --threads: expected"),
        (
            ["--hidden", "16", "0"],
            "argument --hidden: expected a whole number from 1 to 999999999, got '0'",
        ),
        (["--lr", "nan"], "argument --lr: expected a number above 0, got 'nan'"),
        (["--lr", "fast"], "argument --lr: expected a number above 0, got 'fast'"),
        (["--seed", "-1"], "argument --seed: expected"),
        (["--seed", "1.5"], "argument --seed: expected a whole number of at least 0, got '1.5'"),
    ],
)
def test_wrong_options_are_refused(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit, match="2"):
        train.main(arguments)
    assert message in capsys.readouterr().err


def test_as_a_process_sigterm_saves_and_resume_finishes(mnist: Path, tmp_path: Path) -> None:
    """The command as users run it, on the real files."""
    out = tmp_path / "digits.npz"
    command = [sys.executable, "-m", "numdraw.train", "--data", str(mnist), "--out", str(out)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [*command, "--arch", "mlp", "--epochs", "2", "--hidden", "16", "--no-test"],
        cwd=tmp_path, env=env, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip  # shorter so
    assert process.stderr is not None
    for line in process.stderr:
        if line.startswith("55,000 images to train on"):
            break
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    rest = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 130
    assert "go on with: python -m numdraw.train --resume" in rest
    done = subprocess.run(
        [*command, "--resume", "--no-test"], cwd=tmp_path, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert load_checkpoint(out)[1]["scores"]["validation"]["error"] < 0.2
