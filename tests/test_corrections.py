import contextlib
import errno
import fcntl
import json
import os
import re
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import idx
from numdraw import Predictor, corrections
from numdraw._pairs import ink_files
from numdraw.corrections import (
    BusyError,
    Corrections,
    CorrectionsError,
    FullError,
    TooManyError,
    held_still,
    is_label,
)
from numdraw.data import read_corrections
from numdraw.drawings import read_drawings
from numdraw.evaluate import answers_to_drawings
from numdraw.preprocess import render
from tests.asking import SEVEN

ONE = {"strokes": [[[90, 10], [90, 90]]]}
BAR = {"pixels": [[255 if x == 2 and 0 < y < 7 else 0 for x in range(5)] for y in range(8)]}
KEYS = {"label", "read", "confidence", "model", "date"}


def add(store: Corrections, drawing: dict[str, Any] = SEVEN, label: str = "7") -> Exception | None:
    return store.add(drawing, label, read="1", confidence=0.123456, model="mlp-1f3a9c20")


def lines(folder: Path) -> list[dict[str, Any]]:
    return [line for _, line in read_drawings(folder / "corrections.jsonl")]


def labels(folder: Path) -> list[int]:
    """The pair's labels, once each image is seen to be that of its line."""
    images_path, labels_path = ink_files(folder, "corrections", "train")
    images, labels = idx.read(images_path), idx.read(labels_path)
    paired = [line for line in lines(folder) if len(line["label"]) < 2]
    assert len(images) == len(labels) == len(paired)
    for image, label, line in zip(images, labels, paired, strict=True):
        drawing = {kind: line[kind] for kind in ("strokes", "pixels") if kind in line}
        assert np.array_equal(image, np.rint(render(drawing).image * 255))
        assert label == int(line["label"] or 10)
    return [int(label) for label in labels]


@pytest.fixture
def store(tmp_path: Path) -> Corrections:
    return Corrections(tmp_path / "kept")


def test_a_line_holds_the_drawing_and_nothing_of_who_sent_it(store: Corrections) -> None:
    drawing = {"strokes": [[[10, 10.5], [60, 1e2], [-3, 90]]]}
    assert add(store, drawing) is None
    [line] = lines(store.folder)
    assert set(line) == KEYS | {"strokes"}
    assert line["strokes"] == drawing["strokes"]
    assert line["label"] == "7"
    assert line["read"] == "1"
    assert line["confidence"] == 0.1235
    assert line["model"] == "mlp-1f3a9c20"
    assert line["date"] in {
        time.strftime("%Y-%m-%d", time.gmtime(time.time() - ago)) for ago in (0, 60)
    }
    add(store, BAR, "1")
    assert set(lines(store.folder)[1]) == KEYS | {"pixels"}


def test_the_pair_holds_single_digits_and_what_is_none(store: Corrections) -> None:
    for drawing, label in ((SEVEN, "7"), (ONE, "11"), (BAR, ""), (ONE, "1")):
        assert add(store, drawing, label) is None
    assert [line["label"] for line in lines(store.folder)] == ["7", "11", "", "1"]
    assert labels(store.folder) == [7, 10, 1]


def test_the_pair_s_image_is_what_the_network_saw(store: Corrections, predictor: Predictor) -> None:
    add(store)
    examples = read_corrections(store.folder)
    assert np.array_equal(examples.images[0], np.rint(predictor.predict(SEVEN).image * 255))
    assert examples.labels.tolist() == [7]
    assert len(examples.sha256) == 2


def test_the_lines_are_drawings_that_can_be_evaluated(
    store: Corrections, predictor: Predictor
) -> None:
    add(store)
    add(store, BAR, "1")
    answers = answers_to_drawings(predictor, store.folder / "corrections.jsonl", "corrections")
    assert answers.scores["images"] == 2
    assert answers.scores["error"] == 0
    add(store, {"strokes": SEVEN["strokes"] + [[[290, 10], [290, 190]]]}, "71")
    answers = answers_to_drawings(predictor, store.folder / "corrections.jsonl", "corrections")
    assert answers.scores["accuracy"] == 1


@pytest.mark.parametrize("text", ["", "0", "7", "2026", "1" * 20])
def test_a_label_is_up_to_20_digits(text: str) -> None:
    assert is_label(text)


@pytest.mark.parametrize("text", ["x", " 7", "7\n", "-1", "1.5", "٣", "²", "1" * 21])
def test_other_labels_are_none(text: str) -> None:
    assert not is_label(text)


@pytest.mark.parametrize("half", ['{"la', '{"label":"7","strokes":[[[1,2],[3,4]]]}'])
def test_half_a_line_is_cut_off(store: Corrections, half: str) -> None:
    add(store)
    path = store.folder / "corrections.jsonl"
    whole = path.read_text()
    path.write_text(whole + half)
    Corrections(store.folder)
    assert path.read_text() == whole
    path.write_text(whole + half)
    add(store, BAR, "1")
    assert path.read_text().startswith(whole)
    assert labels(store.folder) == [7, 1]


@contextlib.contextmanager
def crash_before(what: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let the block end where it would write the pair's images, or its labels."""

    class Crash(BaseException):
        pass

    def grow(path: Path, *rest: Any) -> None:
        if what in path.name:
            raise Crash
        real(path, *rest)

    real = corrections._grow
    with monkeypatch.context() as patch:
        patch.setattr(corrections, "_grow", grow)
        with pytest.raises(Crash):
            yield


@pytest.mark.parametrize("again", ["add", "start"])
@pytest.mark.parametrize("done", ["nothing", "images"])
def test_a_crash_between_line_and_pair_is_made_up_for(
    store: Corrections, done: str, again: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store)
    with crash_before("images" if done == "nothing" else "labels", monkeypatch):
        add(store, BAR, "1")
    images_path, labels_path = ink_files(store.folder, "corrections", "train")
    assert len(idx.read(images_path)) == (2 if done == "images" else 1)
    assert len(idx.read(labels_path)) == 1
    if again == "add":
        add(store, ONE, "")
        assert labels(store.folder) == [7, 1, 10]
    else:
        Corrections(store.folder)
        assert labels(store.folder) == [7, 1]


def remove_second(text: str) -> str:
    return "".join(line for i, line in enumerate(text.splitlines(keepends=True)) if i != 1)


def relabel(text: str) -> str:
    return text.replace('{"label":"1"', '{"label":""', 1)


def redraw(text: str) -> str:
    return text.replace("[60,40]", "[61,45]", 1)


def swap(text: str) -> str:
    first, second, *others = text.splitlines(keepends=True)
    return "".join([second, first, *others])


@pytest.mark.parametrize("change", [remove_second, relabel, redraw, swap])
@pytest.mark.parametrize("again", ["add", "start"])
def test_lines_that_were_changed_by_hand_have_the_pair_made_anew(
    store: Corrections, change: Any, again: str
) -> None:
    for drawing, label in ((SEVEN, "7"), (BAR, "1"), (ONE, "1"), (SEVEN, "7")):
        add(store, drawing, label)
    path = store.folder / "corrections.jsonl"
    changed = change(path.read_text())
    assert changed != path.read_text()
    path.write_text(changed)
    if again == "add":
        add(store, ONE, "1")
    else:
        Corrections(store.folder)
    assert len(labels(store.folder)) == len(changed.splitlines()) + (again == "add")
    assert path.read_text().startswith(changed)


def test_a_line_that_is_removed_and_put_back_around_a_crash_keeps_its_image(
    store: Corrections, monkeypatch: pytest.MonkeyPatch
) -> None:
    for drawing, label in ((SEVEN, "7"), (BAR, "1"), (ONE, "")):
        add(store, drawing, label)
    path = store.folder / "corrections.jsonl"
    text = path.read_text()
    path.write_text(remove_second(text))
    with crash_before("labels", monkeypatch):
        Corrections(store.folder)
    path.write_text(text)
    Corrections(store.folder)
    assert labels(store.folder) == [7, 1, 10]


def test_the_last_line_can_be_removed(store: Corrections) -> None:
    add(store)
    (store.folder / "corrections.jsonl").write_text("")
    Corrections(store.folder)
    assert sorted(os.listdir(store.folder)) == ["corrections.jsonl", "corrections.lock"]
    add(store, ONE, "1")
    assert labels(store.folder) == [1]


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize("damage", ["gone", "short", "odd"])
def test_a_pair_that_lost_something_is_made_anew(
    store: Corrections, part: int, damage: str
) -> None:
    for drawing, label in ((SEVEN, "7"), (BAR, "1"), (ONE, "")):
        add(store, drawing, label)
    path = ink_files(store.folder, "corrections", "train")[part]
    if damage == "gone":
        path.unlink()
    else:
        os.truncate(path, 16 if damage == "short" else 11)
    Corrections(store.folder)
    assert labels(store.folder) == [7, 1, 10]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"rows": -1}', '{"rows": "x"}', '{"more": 1}'])
def test_a_damaged_state_costs_nothing(store: Corrections, text: str) -> None:
    add(store)
    (store.folder / "corrections.lock").write_text(text)
    add(store, BAR, "1")
    assert labels(store.folder) == [7, 1]


def test_what_a_killed_append_left_is_removed_at_a_start(store: Corrections) -> None:
    left_behind = store.folder / ".idx-0123456789abcdef.tmp"
    left_behind.write_bytes(b"x")
    Corrections(store.folder)
    assert not left_behind.exists()


def test_a_correction_makes_up_for_a_part_of_a_lost_pair_and_a_start_for_all(
    store: Corrections, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(6):
        add(store)
    for path in ink_files(store.folder, "corrections", "train"):
        path.unlink()
    monkeypatch.setattr(corrections, "CATCH_UP", 2)
    counts = []
    for _ in range(4):
        add(store)
        counts.append(len(idx.read(ink_files(store.folder, "corrections", "train")[1])))
    assert counts == [3, 6, 9, 10]
    for path in ink_files(store.folder, "corrections", "train"):
        path.unlink()
    Corrections(store.folder)
    assert labels(store.folder) == [7] * 10


def test_more_than_60_a_minute_are_refused(
    store: Corrections, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    monkeypatch.setattr(corrections, "A_MINUTE", 3)
    others = Corrections(store.folder)  # another worker
    for each in (store, others, store):
        add(each)
        now += 7
    with pytest.raises(TooManyError, match=r"expected at most 3 in 60 s, got more") as caught:
        add(others)
    assert caught.value.seconds == 40
    assert len(lines(store.folder)) == 3
    now = 1060.0
    add(others)
    now = 5.0  # the machine was started anew
    add(others)
    assert len(lines(store.folder)) == 5


def test_the_rate_is_one_a_second_on_average() -> None:
    assert corrections.A_MINUTE / corrections.WINDOW == 1


def test_no_more_drawings_are_kept_than_the_limit(
    store: Corrections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corrections, "MAX_DRAWINGS", 2)
    add(store)
    add(store, ONE, "11")
    with pytest.raises(FullError, match=r"expected at most 2 drawings .* got 2 in .* empty the"):
        add(store)
    assert len(lines(store.folder)) == 2


def test_no_more_bytes_are_kept_than_the_limit(
    store: Corrections, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store)
    size = (store.folder / "corrections.jsonl").stat().st_size
    monkeypatch.setattr(corrections, "MAX_BYTES", 2 * size)
    add(store)
    with pytest.raises(FullError, match="expected at most"):
        add(store)
    assert (store.folder / "corrections.jsonl").stat().st_size == 2 * size


def test_a_lock_that_others_hold_is_waited_for_a_while(
    store: Corrections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corrections, "WAIT", 0.1)
    with (store.folder / "corrections.lock").open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        start = time.monotonic()
        with pytest.raises(BusyError, match=r"expected their lock within 0\.1 s, got others"):
            add(store)
        assert time.monotonic() - start >= 0.1
    add(store)
    with held_still(store.folder), pytest.raises(BusyError):
        add(store)
    assert len(lines(store.folder)) == 1


def test_a_copy_without_a_lock_can_be_read(store: Corrections) -> None:
    add(store)
    (store.folder / "corrections.lock").unlink()
    assert len(read_corrections(store.folder)) == 1
    assert not (store.folder / "corrections.lock").exists()


def test_a_folder_without_corrections_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"--corrections expected .*ink-corrections-train-"):
        read_corrections(tmp_path)


@pytest.mark.parametrize("call", ["write", "fsync"])
def test_a_disk_error_keeps_nothing(
    store: Corrections, call: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store)
    before = {path.name: path.read_bytes() for path in store.folder.iterdir()}

    def fail(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, fail)
        with pytest.raises(OSError, match="No space left"):
            add(store, BAR, "1")
    assert {path.name: path.read_bytes() for path in store.folder.iterdir()} == before
    add(store, BAR, "1")
    assert labels(store.folder) == [7, 1]


def test_a_line_that_is_written_in_part_is_cut_off(
    store: Corrections, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store)
    before = (store.folder / "corrections.jsonl").read_bytes()
    real = os.write
    with monkeypatch.context() as patch:
        patch.setattr(os, "write", lambda file, data: real(file, data[:9]))
        with pytest.raises(OSError, match="a whole line expected to be written, got a part"):
            add(store)
    assert (store.folder / "corrections.jsonl").read_bytes() == before


def test_a_pair_that_cannot_follow_is_told_and_follows_later(
    store: Corrections, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(store)

    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(idx, "append", fail)
        late = add(store, BAR, "1")
    assert isinstance(late, OSError)
    assert [line["label"] for line in lines(store.folder)] == ["7", "1"]
    add(store, ONE, "")
    assert labels(store.folder) == [7, 1, 10]


def test_a_line_that_holds_no_drawing_is_named(store: Corrections) -> None:
    add(store)
    path = store.folder / "corrections.jsonl"
    with path.open("a") as file:
        file.write('{"label":"1","strokes":[[[5,5]]]}\n')
    expected = re.escape(f"{path}:2 expected a drawing, got strokes expected a line")
    with pytest.raises(CorrectionsError, match=expected + ".*mend the line or remove it"):
        Corrections(store.folder)
    late = add(store, BAR, "1")  # is kept all the same
    assert isinstance(late, CorrectionsError)
    assert len(lines(store.folder)) == 3


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        Corrections(tmp_path / "a" / "b")
    (tmp_path / "file").write_text("")
    with pytest.raises(FileExistsError):
        Corrections(tmp_path / "file")


def test_at_the_limits_a_correction_takes_a_fraction_of_a_request_s_time(
    store: Corrections,
) -> None:
    count = corrections.MAX_DRAWINGS - 1
    add(store)
    path = store.folder / "corrections.jsonl"
    first = path.read_bytes()
    padding = b" " * (corrections.MAX_BYTES // (count + 1) - len(first))
    data = (first[:-2] + padding + first[-2:]) * count
    path.write_bytes(data)
    state = {"rows": count, "crc": zlib.crc32(data), "since": 0.0, "count": 0}
    (store.folder / "corrections.lock").write_text(json.dumps(state))
    images_path, labels_path = ink_files(store.folder, "corrections", "train")
    idx.write(images_path, np.repeat(idx.read(images_path), count, axis=0))
    idx.write(labels_path, np.repeat(idx.read(labels_path), count))
    start = time.perf_counter()
    assert add(store) is None
    seconds = time.perf_counter() - start
    assert len(idx.read(labels_path)) == corrections.MAX_DRAWINGS
    assert seconds < 1  # 0.05 on a quiet machine; a worker has --timeout, 5
    print(f"\n{1000 * seconds:.0f} ms")  # noqa: T201  shown with -s
