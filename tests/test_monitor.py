import os
import re
from pathlib import Path

import pytest

from numdraw import Predictor
from numdraw.app import make_app
from numdraw.monitor import CONFIDENCES, SECONDS, Monitor
from tests.asking import SEVEN, ask, post

HOUSE = [[[0, 40], [20, 0], [40, 40], [40, 90], [0, 90], [0, 40], [40, 40]]]
Samples = dict[tuple[str, ...], float]


def samples(text: str) -> Samples:
    """Value by name and labels' values, as Prometheus' own parser has them."""
    parser = pytest.importorskip("prometheus_client.parser", reason="pip install prometheus-client")
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


def of(found: Samples, name: str) -> Samples:
    """The samples of that name, by their labels' values."""
    return {key[1:]: value for key, value in found.items() if key[0] == name}


def answered(found: Samples) -> Samples:
    """The requests by route and status, without those of which there were none."""
    return {key: value for key, value in of(found, "numdraw_requests_total").items() if value}


@pytest.fixture
def monitor() -> Monitor:
    return Monitor(["/a", "/b"], workers=3)


def test_requests_are_summed_over_the_rows_by_route_and_status(monitor: Monitor) -> None:
    monitor.rows[1].count_request("/a", 200, 0.003)
    monitor.rows[2].count_request("/a", 200, 0.0005)
    monitor.rows[2].count_request("/a", 404, 5)
    monitor.rows[3].count_request("other", 404, 0.003)
    found = samples(monitor.text())
    assert answered(found) == {
        ("/a", "200"): 2,
        ("/a", "404"): 1,
        ("other", "404"): 1,
    }
    buckets = {
        key[2]: n for key, n in found.items() if key[1:2] == ("/a",) and key[0].endswith("_bucket")
    }
    assert buckets["0.0005"] == 1  # its bound belongs to a bucket
    assert buckets["0.0025"] == 1
    assert buckets["0.005"] == 2
    assert buckets["1.0"] == 2
    assert buckets["+Inf"] == 3
    assert len(buckets) == len(SECONDS) + 1
    assert found["numdraw_request_duration_seconds_count", "/a"] == 3
    assert found["numdraw_request_duration_seconds_sum", "/a"] == pytest.approx(5.0035)


def test_answers_are_counted_by_digit_and_confidence(monitor: Monitor) -> None:
    monitor.rows[1].count_answer([7, 1, 7], 0.95, is_digit=True)
    monitor.rows[2].count_answer([0], 0.04, is_digit=False)
    found = samples(monitor.text())
    digits = [found["numdraw_digits_total", str(digit)] for digit in range(10)]
    assert digits == [1, 1, 0, 0, 0, 0, 0, 2, 0, 0]
    assert found["numdraw_refusals_total",] == 1
    assert found["numdraw_confidence_bucket", "0.1"] == 1
    assert found["numdraw_confidence_bucket", "0.9"] == 1
    assert found["numdraw_confidence_bucket", "0.95"] == 2
    assert found["numdraw_confidence_count",] == 2
    assert found["numdraw_confidence_sum",] == pytest.approx(0.99)


def test_a_confidence_is_never_above_the_last_bound(monitor: Monitor) -> None:
    assert CONFIDENCES[-1] == 1
    monitor.rows[1].count_answer([7], 1.0, is_digit=True)
    found = samples(monitor.text())
    assert found["numdraw_confidence_bucket", "1.0"] == 1


def test_workers_and_models_are_those_that_are_ready(monitor: Monitor) -> None:
    for row, version in zip(monitor.rows[1:], ["mlp-1", "mlp-2", "mlp-1"], strict=True):
        row.version, row.ready = version, True
    monitor.rows[2].ready = False
    found = samples(monitor.text())
    assert found["numdraw_workers",] == 2
    assert ("numdraw_model_info", "mlp-1") in found
    assert ("numdraw_model_info", "mlp-2") not in found


def test_in_a_reload_a_post_with_two_workers_counts_once() -> None:
    monitor = Monitor(["/a"], workers=2, spare=1)
    for row in monitor.rows[1:]:
        row.ready = True
    assert len(monitor.rows) == 4
    assert samples(monitor.text())["numdraw_workers",] == 2


def test_a_fault_s_series_is_there_before_the_fault(monitor: Monitor) -> None:
    found = of(samples(monitor.text()), "numdraw_requests_total")
    assert found["/a", "500"] == found["/b", "503"] == 0
    assert ("/a", "200") not in found


def test_a_row_holds_what_was_written(monitor: Monitor) -> None:
    row = monitor.rows[2]
    assert (row.pid, row.ready, row.version) == (0, False, "")
    row.pid, row.ready, row.beat, row.version = 4_194_304, True, 123.5, "x" * 100
    assert (row.pid, row.ready, row.beat, row.version) == (4_194_304, True, 123.5, "x" * 64)
    row.version = "mlp"
    assert row.version == "mlp"
    assert monitor.rows[1].version == monitor.rows[3].version == ""


def test_the_master_s_counts_are_told(monitor: Monitor) -> None:
    master = monitor.rows[0]
    for count in (master.count_restart, master.count_restart):
        count("hung")
    master.count_reload("failed")
    monitor.rows[3].count_lost_line()
    found = samples(monitor.text())
    assert found["numdraw_worker_restarts_total", "hung"] == 2
    assert found["numdraw_worker_restarts_total", "ended"] == 0
    assert found["numdraw_reloads_total", "failed"] == 1
    assert found["numdraw_log_lines_lost_total",] == 1


def test_memory_is_that_of_the_processes_in_the_rows(monitor: Monitor) -> None:
    if not Path("/proc/self/statm").exists():
        pytest.skip("no /proc on this system")
    assert samples(monitor.text())["numdraw_resident_memory_bytes",] == 0
    monitor.rows[1].pid = os.getpid()
    found = samples(monitor.text())["numdraw_resident_memory_bytes",]
    assert 10_000_000 < found < 100_000_000_000
    monitor.rows[2].pid = 4_194_305  # above the most that Linux has
    assert samples(monitor.text())["numdraw_resident_memory_bytes",] == pytest.approx(
        found, rel=0.2
    )


def test_a_child_counts_in_the_memory_of_its_parent(monitor: Monitor) -> None:
    pid = os.fork()
    if not pid:
        monitor.rows[1].count_request("/a", 200, 0.1)
        os._exit(0)
    os.waitpid(pid, 0)
    assert samples(monitor.text())["numdraw_requests_total", "/a", "200"] == 1


def test_every_line_has_its_family_described(monitor: Monitor) -> None:
    monitor.rows[1].count_request("/a", 200, 0.1)
    described = set()
    for line in monitor.text().splitlines():
        if line.startswith("# "):
            described.add(line.split()[2])
        else:
            name = re.split(r"[ {]", line)[0]
            assert described & {name, re.sub("_(bucket|sum|count)$", "", name)}, line


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "index.html").write_text("<!doctype html>")
    return tmp_path


def test_the_application_counts_what_it_answers(predictor: Predictor, page: Path) -> None:
    app = make_app(predictor, public=page)
    post(app, "/api/predict", SEVEN)
    post(app, "/api/predict", {"strokes": HOUSE})
    post(app, "/api/predict", {})
    ask(app, "GET", "/")
    ask(app, "GET", "/<script>")
    reply = ask(app, "GET", "/metrics")
    assert reply.status == 200
    assert reply.headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert reply.headers["Cache-Control"] == "no-store"
    found = samples(reply.body.decode())
    assert answered(found) == {
        ("/api/predict", "200"): 2,
        ("/api/predict", "422"): 1,
        ("file", "200"): 1,
        ("other", "404"): 1,
    }
    assert found["numdraw_digits_total", "7"] == 1
    assert found["numdraw_refusals_total",] == 1
    assert found["numdraw_confidence_count",] == 2
    assert found["numdraw_model_info", predictor.version] == 1
    assert found["numdraw_workers",] == 1
