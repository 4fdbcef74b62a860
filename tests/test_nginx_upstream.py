"""Workers and hosts that end under load: what nginx does so that no client sees it."""

import contextlib
import json
import os
import re
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving import Site, free_port, serving, started
from tests.through_nginx import (
    DRAWING,
    JSON_HEADERS,
    NO_RATE,
    ask,
    assert_problem,
    echo,
    load,
    processes,
    wait_until,
)

HOSTS = ["192.0.2.11:80", "192.0.2.12:80", "192.0.2.13:80"]  # the file's examples


def test_workers_that_are_killed_under_load_cost_no_client_its_answer() -> None:
    with serving(workers=2, edits=NO_RATE) as site:
        wait_until("both workers", lambda: len(processes(site)) == 3)
        with load(site) as came:
            for _ in range(5):
                wait_for_more(came, 20)
                kill_a_worker(site)
            wait_for_more(came, 20)
    assert set(came) == {200}, came


@pytest.mark.parametrize(("path", "times"), [("/api/predict", 2), ("/api/corrections", 1)])
def test_a_request_that_ends_a_worker_is_asked_twice_and_a_correction_once(
    path: str, times: int
) -> None:
    dying = """
import os, socket, sys
listening = socket.socket(socket.AF_UNIX)
listening.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
listening.listen()
while True:
    connection = listening.accept()[0]
    for word in connection.recv(65536).split()[1:2]:
        print(word.decode(), flush=True)
    connection.close()
"""
    with serving(app=[sys.executable, "-c", dying]) as site:
        answer = ask(site, "POST", path, DRAWING, **JSON_HEADERS)
        assert_problem(answer, 503, "an answer from a worker, got none")
        assert (site.folder / "app.log").read_text().split() == [path] * times


def test_a_request_that_hangs_a_worker_is_not_handed_to_another() -> None:
    quick = {"proxy_read_timeout      10s": "proxy_read_timeout 1s"}
    with serving(app=echo(), edits=quick) as site:
        answer = ask(site, "GET", "/api/slow")
        assert_problem(answer, 504, "an answer from a worker in time, got none")
        assert answer.header("Retry-After") == "2"
        wait_until("the worker's end with it", lambda: ask(site, "GET", "/api/x").status == 200)
        asked = json.loads(ask(site, "GET", "/api/x").body)["asked"]
    assert asked.count("/api/slow") == 1


@contextlib.contextmanager
def hosts(folder: Path, count: int) -> Iterator[list[tuple[int, int]]]:
    """Run that many numdraw.serve on ports of their own; their process ids and ports."""
    pytest.importorskip("bjoern", reason="bjoern is not installed: pip install bjoern")
    with contextlib.ExitStack() as stack:
        running = []
        for _ in range(count):
            port = free_port()
            command = [sys.executable, "-m", "numdraw.serve", "--port", str(port)]
            log = folder / f"host{port}"
            process = stack.enter_context(started([*command, "--workers", "2"], log))
            wait_for_text(log.with_suffix(".log"), "ready at")
            running.append((process.pid, port))
        yield running


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL, signal.SIGSTOP])
def test_a_host_that_ends_under_load_costs_no_client_its_answer(
    end: signal.Signals, tmp_path: Path
) -> None:
    with hosts(tmp_path, 3) as running:
        with (
            serving(
                app=[], edits={**NO_RATE, **at(running)}, site_file="numdraw-hosts.conf"
            ) as site,
            load(site) as came,
        ):
            wait_for_more(came, 50)
            pid = running[1][0]
            # A stopped host takes connections and never answers, as one that was cut off.
            pids = [pid] if end == signal.SIGTERM else [pid, *children(pid)]
            for one in pids:
                os.kill(one, end)
            try:
                if end == signal.SIGSTOP:
                    wait_for_text(site.folder / "nginx.log", "timed out")
                wait_for_more(came, 200)
            finally:
                if end == signal.SIGSTOP:
                    for one in pids:
                        os.kill(one, signal.SIGCONT)
        assert set(came) == {200}, came


def test_a_host_that_failed_three_times_is_left_alone_and_tried_again(tmp_path: Path) -> None:
    asked = []

    def end_each_request(listening: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection = listening.accept()[0]
                asked.append(connection.recv(65536))
                connection.close()

    with hosts(tmp_path, 2) as running, socket.create_server(("127.0.0.1", 0)) as dying:
        thread = threading.Thread(target=end_each_request, args=(dying,))
        thread.start()
        edits = {**NO_RATE, **at([*running, (0, dying.getsockname()[1])])}
        with serving(app=[], edits=edits, site_file="numdraw-hosts.conf") as site:
            path = "/api/predict"
            statuses = [ask(site, "POST", path, DRAWING, **JSON_HEADERS).status for _ in range(90)]
            # A third of them would be 30. Once more for each 5 s that the machine needs.
            assert 3 <= len(asked) < 15
            before = len(asked)
            wait_until(
                "another try",
                lambda: ask(site, "GET", "/hello/").status == 200 and len(asked) > before,
            )
        dying.shutdown(socket.SHUT_RDWR)
        thread.join()
    assert set(statuses) == {200}


def test_a_host_whose_workers_are_gone_is_passed_over_for_another() -> None:
    with serving(app=[]) as gone, serving(app=echo()) as good:
        front = at([(0, port) for port in (gone.port, good.port, good.port)])
        with serving(app=[], edits=front, site_file="numdraw-hosts.conf") as site:
            statuses = {ask(site, "POST", "/api/x", b"{}").status for _ in range(10)}
        assert "/api/x" in (gone.folder / "nginx.log").read_text()  # it was asked, in vain
    assert statuses == {200}


def test_hosts_that_are_all_gone_return_503(tmp_path: Path) -> None:
    nobody = [(0, free_port()) for _ in HOSTS]
    with serving(app=[], edits=at(nobody), site_file="numdraw-hosts.conf") as site:
        for _ in range(8):  # from the fourth on no host is even asked
            answer = ask(site, "POST", "/api/predict", DRAWING, **JSON_HEADERS)
            assert_problem(answer, 503, "an answer from a worker, got none")
            assert answer.header("Retry-After") == "2"


def test_a_host_s_nginx_keeps_the_request_s_id_and_counts_the_clients() -> None:
    behind = {
        "# set_real_ip_from 192.0.2.1;": "set_real_ip_from 127.0.0.1;",
        "# real_ip_header": "real_ip_header",
        "limit_req zone=numdraw_legacy burst=10 nodelay": "limit_req zone=numdraw_legacy nodelay",
    }
    with serving(app=echo(), edits=behind) as host:
        front = at([(0, host.port)] * 3)
        with serving(app=[], edits=front, site_file="numdraw-hosts.conf") as site:
            answer = ask(site, "GET", "/api/x", source="127.0.0.9", X_Forwarded_For="1.2.3.4")
            sent = json.loads(answer.body)
            assert sent["HTTP_X_REQUEST_ID"] == answer.header("X-Request-Id")
            assert sent["HTTP_X_FORWARDED_FOR"] == "127.0.0.9"
            path = "/predict_number/"
            statuses = [
                ask(site, "POST", path, b"{}", source=f"127.0.0.{n}").status for n in (9, 9, 10)
            ]
    assert statuses == [200, 429, 200]


def test_a_client_cannot_choose_the_request_s_id() -> None:
    chosen = "0123456789abcdef" * 2
    with serving(app=echo()) as site:
        answer = ask(site, "GET", "/api/x", X_Request_Id=chosen, X_Forwarded_For="1.2.3.4")
    assert re.fullmatch("[0-9a-f]{32}", answer.header("X-Request-Id") or "")
    assert answer.header("X-Request-Id") != chosen


@pytest.mark.parametrize(
    ("addresses", "expected"),
    [
        (["2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"], [200, 429, 200]),
        (["::ffff:192.0.2.1", "::ffff:192.0.2.1", "::ffff:192.0.2.2"], [200, 429, 200]),
        (["192.0.2.1", "192.0.2.1", "192.0.2.2"], [200, 429, 200]),
    ],
)
def test_an_ipv6_network_is_one_client_as_an_ipv4_address_is(
    addresses: list[str], expected: list[int]
) -> None:
    behind = {
        "# set_real_ip_from 192.0.2.1;": "set_real_ip_from 127.0.0.1;",
        "# real_ip_header": "real_ip_header",
        "limit_req zone=numdraw_legacy burst=10 nodelay": "limit_req zone=numdraw_legacy nodelay",
    }
    with serving(app=echo(), edits=behind) as site:
        statuses = [
            ask(site, "POST", "/predict_number/", b"{}", X_Forwarded_For=address).status
            for address in addresses
        ]
    assert statuses == expected


def at(running: list[tuple[int, int]]) -> dict[str, str]:
    """The edits that put hosts in the examples' places."""
    return {
        f"server {example} ": f"server 127.0.0.1:{port} "
        for example, (_, port) in zip(HOSTS, running, strict=True)
    }


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def kill_a_worker(site: Site) -> None:
    """Kill one of two with SIGKILL and wait until there are two again."""
    master, *workers = processes(site)
    os.kill(int(workers[0]), signal.SIGKILL)

    def replaced() -> bool:
        now = processes(site)
        return len(now) == 3 and workers[0] not in now

    wait_until(f"a worker in the place of {workers[0]} under {master}", replaced)


def wait_for_more(came: "Counter[int | str]", more: int) -> None:
    seen = came.total()
    wait_until(f"{more} answers", lambda: came.total() >= seen + more)


def wait_for_text(log: Path, text: str) -> None:
    wait_until(f"{text} in {log}", lambda: text in log.read_text())
