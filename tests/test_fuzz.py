"""Damaged requests and bodies: no worker dies of one, none gets an error of the server's own.

In short; scripts/bench fuzz sends 100,000 of each. The seed is 0 in both.
"""

import contextlib
import json
import random
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from numdraw import Predictor
from numdraw.app import make_app
from tests.faults import ask, bench, children, master_of
from tests.fuzzing import ALLOWED, ask_all, bodies, posts, requests, send_all
from tests.mutations import VALUES, http_request
from tests.running import wait_until
from tests.serving import Site, serving

HTTP, JSON, JSON_SENT = 3000, 3000, 500


@contextlib.contextmanager
def unharmed() -> Iterator[Site]:
    """A site of two workers that must be unharmed at the end of the block."""
    with serving(workers=2) as site:
        pid = master_of(site)
        wait_until(lambda: len(children(pid)) == 2)
        workers = children(pid)
        yield site
        check_unharmed(site, workers)


def check_unharmed(site: Site, workers: list[int]) -> None:
    """The same workers live, none has written of an error, and all is well."""
    assert children(master_of(site)) == workers
    log = (site.folder / "app.log").read_text()
    assert [line for line in log.splitlines() if '"level":"error"' in line] == []
    address = ("127.0.0.1", site.port)
    assert ask(address, b"GET /api/model HTTP/1.1\r\nHost: localhost\r\n\r\n") == 200


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_damaged_requests_harm_no_worker() -> None:
    with unharmed() as site:
        found = send_all(site.port, requests(0, HTTP))
    assert found.wrong == []
    # Some are still sound, some are refused by nginx, some by the application, some say nothing.
    assert min(found.statuses[status] for status in (0, 200, 400, 404, 405, 415, 422)) > 0


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_damaged_bodies_harm_no_worker() -> None:
    with unharmed() as site:
        found = send_all(site.port, posts(bodies(1, JSON_SENT)), only=ALLOWED)
    assert found.wrong == []
    assert sum(found.statuses.values()) == JSON_SENT


def test_damaged_bodies_get_json_and_a_status_that_fits(predictor: Predictor) -> None:
    found = ask_all(make_app(predictor), bodies(0, JSON))
    assert found.wrong == []
    assert sum(found.statuses.values()) == JSON
    assert min(found.statuses[status] for status in (200, 400, 413, 422)) > 0


@pytest.mark.parametrize("value", VALUES)
def test_a_strange_value_anywhere_gets_json_and_a_status_that_fits(
    predictor: Predictor, value: str
) -> None:
    forms = [
        "%s", '{"strokes":%s}', '{"strokes":[%s]}', '{"strokes":[[%s]]}', '{"strokes":[[[0,%s]]]}',
        '{"pixels":%s}', '{"pixels":[%s]}', '{"pixels":[[0,%s],[0,0]]}', '{"new_data":%s}',
        '{"strokes":[[[0,0],[%s,9]],[[5,5]]],"image":true}', '{"strokes":[[[1,2]]],"image":%s}',
    ]  # fmt: skip  # shorter so
    paths = [("/predict_number/" if "new" in form else "/api/predict", form) for form in forms]
    sent = ((path, form.replace("%s", value).encode()) for path, form in paths)
    assert ask_all(make_app(predictor), sent).wrong == []


def test_a_seed_says_what_is_sent() -> None:
    assert list(requests(3, 20)) == list(requests(3, 20))
    assert list(bodies(3, 20)) == list(bodies(3, 20))
    assert list(requests(3, 20)) != list(requests(4, 20))


def test_the_fuzzer_sees_an_error_of_the_server() -> None:
    with serving(app=[]) as site:  # nginx alone has no worker to ask
        found = send_all(site.port, posts(bodies(0, 20)), only=ALLOWED)
        assert {what for what, _ in found.wrong} == {"status 503"}
        by_http = send_all(site.port, requests(0, 50))
        assert "status 503" in {what for what, _ in by_http.wrong}


def test_requests_are_split_and_pipelined() -> None:
    rng = random.Random(0)
    made = [http_request(rng) for _ in range(200)]
    assert max(map(len, made)) > 3
    assert max(b"".join(packets).count(b"HTTP/1.1") for packets in made) >= 4


def test_the_benchmark_tells_what_came_back(tmp_path: Path) -> None:
    out = tmp_path / "fuzz.json"
    done = bench(
        "fuzz", "--requests", "200", "--bodies", "400", "--seed", "5",
        "--keep", tmp_path / "found", "--json", out,
    )  # fmt: skip  # shorter so
    assert (done.returncode, done.stderr) == (0, "")
    assert "wrong: nothing" in done.stdout
    found = json.loads(out.read_text())
    assert found["seed"] == 5
    assert sum(found["bodies"]["statuses"].values()) == 400
    assert len(found["bodies"]["slowest ms"]) == 10
    assert found["bodies sent"]["workers ended"] == 0
    assert not (tmp_path / "found").exists()


@pytest.mark.skipif(shutil.which("wrk") is None, reason="wrk is not installed")
def test_the_soak_reads_the_memory_of_each_worker(tmp_path: Path) -> None:
    out = tmp_path / "soak.json"
    done = bench("soak", "--quick", "--json", out)
    assert done.stderr == ""
    assert "0 answers other than 200; workers the same" in done.stdout
    found = json.loads(out.read_text())
    assert (found["predictions"], found["wrong"], len(found["grown"])) == (2000, 0, 2)
    memory = [worker for part in found["memory"] for worker in part["workers"]]
    assert all(worker["resident"] > worker["own"] > 1e6 for worker in memory)
