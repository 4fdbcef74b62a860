"""Crashes: whenever they come, what was told to be kept is kept, once, and in the pair."""

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np
import pytest

import idx
from numdraw import corrections
from numdraw._pairs import ink_files
from numdraw.corrections import Corrections
from numdraw.drawings import read_drawings
from numdraw.preprocess import render
from tests.running import ROOT, alive, ask, running, wait_until

KILLS = int(os.environ.get("NUMDRAW_KILLS", "24"))  # of random moments
PROCESSES = 3

# Appends drawings that are told apart by a coordinate, and says which ones are kept. As "call", the
# first number is the call that changes the disk before which it dies.
APPENDING = """
import os, signal, sys
import idx
from pathlib import Path
from numdraw import corrections

corrections.A_MINUTE = 10**9
store = corrections.Corrections(Path(sys.argv[1]))
left, first, count = map(int, sys.argv[2:])

def counted(call):
    def wrapper(*args, **kwargs):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return call(*args, **kwargs)
    return wrapper

for name in ("write", "pwrite", "fsync", "replace", "ftruncate", "unlink"):
    setattr(os, name, counted(getattr(os, name)))
for k in range(first, first + count):
    label = ("7", "", "71", "1")[k % 4]
    late = store.add(
        {"strokes": [[[k, 0], [k + 50, 1], [k + 20, 80]]]},
        label, read="7", confidence=0.5, model="m",
    )
    assert late is None, late
    sys.stdout.write(f"{k}\\n")
    sys.stdout.flush()
"""
ENV = {**os.environ, "PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}


def appending(folder: Path, *numbers: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-c", APPENDING, str(folder), *map(str, numbers)]
    return subprocess.Popen(command, env=ENV, stdout=subprocess.PIPE, text=True)


def kept(folder: Path) -> Counter[int]:
    """The drawings by their first coordinate, once the pair is seen to be theirs after a start."""
    Corrections(folder)
    lines = [line for _, line in read_drawings(folder / "corrections.jsonl")]
    paired = [line for line in lines if len(line["label"]) < 2]
    images, labels = (
        idx.read(path) if path.exists() else np.zeros(0, np.uint8)
        for path in ink_files(folder, "corrections", "train")
    )
    assert len(images) == len(labels) == len(paired)
    assert labels.tolist() == [int(line["label"] or 10) for line in paired]
    for image, line in zip(images, paired, strict=True):
        assert np.array_equal(image, np.rint(render({"strokes": line["strokes"]}).image * 255))
    assert not list(folder.glob(".idx-*"))
    return Counter(line["strokes"][0][0][0] for line in lines)


def test_killed_before_any_change_on_the_disk_it_loses_nothing_that_it_said(
    tmp_path: Path,
) -> None:
    call, said = 0, 0
    while said < 3:
        call += 1
        folder = tmp_path / str(call)
        with appending(folder, call, 0, 3) as process:
            out, _ = process.communicate()
        said = len(out.split())
        found = kept(folder)
        assert process.returncode == (-signal.SIGKILL if said < 3 else 0)
        assert set(found.values()) <= {1}
        assert set(map(int, out.split())) <= set(found)
        assert len(found) - said in (0, 1)  # one may be on the disk, and not yet told
    assert call > 20


def test_processes_killed_at_random_moments_lose_nothing_that_they_said(tmp_path: Path) -> None:
    rng, start = random.Random(0), 0
    told: list[int] = []
    running: list[subprocess.Popen[str]] = []
    Corrections(tmp_path)
    readers = []
    for kill in range(KILLS + PROCESSES):
        while len(running) < PROCESSES and kill < KILLS:
            process = appending(tmp_path, -1, start, 10**6)
            start += 10**6
            assert process.stdout is not None
            reader = threading.Thread(target=read, args=(process.stdout, told))
            reader.start()
            readers.append(reader)
            running.append(process)
        if kill < KILLS:
            wait_for_more(told, 1)
            time.sleep(rng.uniform(0, 0.05))
        if running:
            process = running.pop(rng.randrange(len(running)))
            process.kill()
            process.wait()
    for reader in readers:
        reader.join()
    found = kept(tmp_path)
    assert set(found.values()) == {1}
    assert set(told) <= set(found)
    assert len(found) - len(told) <= KILLS  # each had one in hand
    print(f"\n{KILLS} kills, {len(told)} told, {len(found)} kept")  # noqa: T201  shown with -s
    assert len(told) > KILLS


def wait_for_more(told: list[int], count: int) -> None:
    wanted = len(told) + count
    wait_until(lambda: len(told) >= wanted)


def read(stream: IO[str], told: list[int]) -> None:
    with stream:
        told.extend(int(line) for line in stream if line.endswith("\n"))


FULL_AT_EVERY_BYTE = """
import os, resource, sys
from pathlib import Path
from numdraw import corrections

corrections.A_MINUTE = 10**9
store = corrections.Corrections(Path(sys.argv[1]))
lines, answers = store.folder / "corrections.jsonl", set()
for size in range(0, 4000, 5):
    before = lines.read_bytes()
    child = os.fork()
    if child == 0:
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            drawing = {"strokes": [[[size, 0], [60, 0], [30, 80]]]}
            late = store.add(drawing, "7", read="7", confidence=0.5, model="m")
        except OSError:
            os._exit(1)
        os._exit(0 if late is None else 2)
    answer = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    answers.add(answer)
    after = lines.read_bytes()
    if (after == before) != (answer == 1) or not after.startswith(before):
        sys.exit(f"expected a line or none, got {after[len(before):]} with answer {answer}")
    if answer == 0:
        break
    if answer == 2:
        before = lines.read_bytes()
        lines.write_bytes(b"")
sys.stdout.write(str(sorted(answers)))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="RLIMIT_FSIZE as on Linux")
def test_a_disk_that_is_full_at_any_byte_keeps_a_whole_line_or_none(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FULL_AT_EVERY_BYTE, str(tmp_path)],
        env=ENV, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip  # shorter so
    assert done.returncode == 0, done.stderr
    assert done.stdout == "[0, 1, 2]"  # kept; refused; kept, but the pair had no room


UNLIMITED = "from numdraw import corrections; corrections.A_MINUTE = 10**6"


def test_workers_killed_and_reloaded_under_load_lose_no_correction_that_they_answered(
    tmp_path: Path,
) -> None:
    answered: list[int] = []
    others: list[int] = []
    stop = threading.Event()

    def post(numbers: Iterator[int]) -> None:
        for k in numbers:
            if stop.is_set():
                return
            body = {"strokes": [[[k, 0], [k + 50, 1], [k + 20, 80]]], "label": "7"}
            try:
                status, answer = ask(server, "POST", "/api/corrections", body)
            except OSError:  # the worker was killed with the request in hand
                continue
            if status == 201:
                assert json.loads(answer) == {"stored": True}
                answered.append(k)
            else:
                others.append(status)

    rng = random.Random(1)
    with running("--workers", "3", "--corrections", tmp_path, before=UNLIMITED) as server:
        clients = [
            threading.Thread(target=post, args=(iter(range(first, first + 10**6)),))
            for first in (0, 10**6, 2 * 10**6)
        ]
        for client in clients:
            client.start()
        for kill in range(8):
            wait_for_more(answered, 4)
            time.sleep(rng.uniform(0, 0.05))
            if kill == 4:
                server.process.send_signal(signal.SIGHUP)
                wait_until(lambda: server.errors("reloaded"))
            else:
                os.kill(rng.choice(server.workers()), signal.SIGKILL)
        wait_for_more(answered, 4)
        stop.set()
        for client in clients:
            client.join()
        assert server.metric("numdraw_corrections_total") == pytest.approx(len(answered), abs=8)
        assert not server.errors("reload failed")
    found = kept(tmp_path)
    assert set(found.values()) == {1}
    assert set(answered) <= set(found)
    assert len(found) - len(answered) <= 8
    assert set(others) <= {503}  # one that waited for the lock too long
    assert not any(alive(pid) for pid in server.workers())
    assert corrections.WAIT < 4  # s; what nginx grants a first worker before it asks another
