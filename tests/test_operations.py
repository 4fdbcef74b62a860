"""docs/operations.md and the alarms: what they name exists, and each alarm rings when it should."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from numdraw import monitor

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "operations.md").read_text()
RULES = ROOT / "nginx" / "prometheus" / "numdraw.rules.yml"
FAMILIES = set(re.findall("# TYPE (numdraw_[a-z_]+) ", monitor.Monitor(["/api/predict"]).text()))
ALARMS = re.findall("- alert: ([A-Za-z]+)", RULES.read_text())
PLACES = [  # whose options of numdraw.serve are looked at
    *(ROOT / "nginx" / "systemd").iterdir(),
    ROOT / "nginx" / "container" / "Containerfile",
    ROOT / "nginx" / "kubernetes" / "deployment.yaml",
]


def flags() -> set[str]:
    """What numdraw.serve takes."""
    shown = subprocess.run(
        [sys.executable, "-m", "numdraw.serve", "--help"],
        capture_output=True, text=True, check=True, cwd=ROOT,
    ).stdout  # fmt: skip  # shorter so
    return set(re.findall(r"--[a-z][a-z-]*", shown))


def test_every_flag_on_the_page_exists() -> None:
    told = set(re.findall(r"`(--[a-z][a-z-]*)[^`]*`", PAGE))
    told |= set(re.findall(r" (--[a-z-]+)", " ".join(re.findall("NUMDRAW_OPTIONS=(.*)", PAGE))))
    assert "--workers" in told
    assert told - flags() == set()


@pytest.mark.parametrize("path", PLACES, ids=lambda path: path.name)
def test_every_flag_that_a_file_gives_the_server_exists(path: Path) -> None:
    text = path.read_text()
    commands = re.findall(
        r"(?:numdraw\.serve|NUMDRAW_OPTIONS=|^CMD|args:)(.*)$", text, re.MULTILINE
    )
    given = {flag for command in commands for flag in re.findall(r"--[a-z][a-z-]*", command)}
    assert given - flags() == set()
    assert given or "ExecStart" not in text


def test_every_file_on_the_page_exists() -> None:
    blocks = "".join(re.findall("```sh\n(.*?)```", PAGE, re.DOTALL))
    files = set(re.findall(r"(?<![\w/])((?:nginx|weights)/[\w./-]+)", blocks))
    assert "nginx/systemd/numdraw.service" in files
    assert {name for name in files if not (ROOT / name).exists()} == set()


def test_every_link_to_a_heading_has_one() -> None:
    headings = re.findall("^#+ (.*)$", PAGE, re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-").replace("'", "") for heading in headings}
    links = set(re.findall(r"\]\(#([a-z-]+)\)", PAGE))
    assert links
    assert links - anchors == set()


def test_every_metric_is_on_the_page_and_every_one_there_exists() -> None:
    told = re.findall(r"^\| `(numdraw_[a-z_]+)` \|", PAGE, re.MULTILINE)
    assert sorted(told) == sorted(FAMILIES)
    assert named(PAGE) - FAMILIES == set()


def test_every_alarm_is_explained_with_its_severity() -> None:
    headings = re.findall("^### (Numdraw[A-Za-z]+)$", PAGE, re.MULTILINE)
    assert sorted(headings) == sorted(ALARMS)
    severities = dict(re.findall(r"- alert: (\w+).*?severity: (\w+)", RULES.read_text(), re.DOTALL))
    for alarm in ALARMS:
        [told] = re.findall(rf"^### {alarm}\n\n(\w+)\.", PAGE, re.MULTILINE)
        assert told.lower() == severities[alarm], alarm


def test_the_alarms_ask_for_metrics_that_exist() -> None:
    assert named(RULES.read_text()) - FAMILIES == set()


def named(text: str) -> set[str]:
    """The families of the metrics in a text."""
    names = set(re.findall(r"\bnumdraw_[a-z_]+\b", text))
    return {re.sub("_(bucket|count|sum)$", "", name) for name in names}


# What promtool puts in: a metric, and its values a minute apart. What rings at the last of them.
HOST = 'instance="a",job="numdraw"'
ANSWERED = f'numdraw_requests_total{{{HOST},route="/api/predict",status="%s"}}'
TOOK = f'numdraw_request_duration_seconds_bucket{{{HOST},route="/api/predict",le="%s"}}'
UNSURE = f'numdraw_confidence_bucket{{{HOST},le="0.5"}}'
DRAWINGS = f"numdraw_confidence_count{{{HOST}}}"
CASES: dict[str, tuple[int, dict[str, str]]] = {
    "NumdrawDown": (5, {f"up{{{HOST}}}": "1 0x5"}),
    "NumdrawErrors": (20, {ANSWERED % 200: "0+97x20", ANSWERED % 503: "0+3x20"}),
    "NumdrawRestarts": (15, {f"numdraw_start_time_seconds{{{HOST}}}": "1x5 2 3 4x10"}),
    "NumdrawFewerWorkers": (20, {f"numdraw_workers{{{HOST}}}": "2x5 1x20"}),
    "NumdrawWorkersEnd": (
        10,
        {f'numdraw_worker_restarts_total{{{HOST},reason="ended"}}': "0+1x10"},
    ),
    "NumdrawWorkersHang": (
        10,
        {f'numdraw_worker_restarts_total{{{HOST},reason="hung"}}': "0x5 1x5"},
    ),
    "NumdrawSlow": (
        30,
        {TOOK % 0.05: "0+90x30", TOOK % 0.1: "0+100x30", TOOK % "+Inf": "0+100x30"},
    ),
    "NumdrawReloadFailed": (10, {f'numdraw_reloads_total{{{HOST},result="failed"}}': "0x5 1x5"}),
    "NumdrawModelsDiffer": (
        30,
        {
            'numdraw_model_info{instance="a",version="one"}': "1x30",
            'numdraw_model_info{instance="b",version="two"}': "1x30",
        },
    ),
    "NumdrawLogsLost": (10, {f"numdraw_log_lines_lost_total{{{HOST}}}": "0x5 7x5"}),
    "NumdrawMemory": (30, {f"numdraw_resident_memory_bytes{{{HOST}}}": "900000000x30"}),
    "NumdrawUnsure": (480, {UNSURE: "0+3x480", DRAWINGS: "0+10x480"}),
    "NumdrawRefuses": (
        480,
        {f"numdraw_refusals_total{{{HOST}}}": "0+6x480", DRAWINGS: "0+10x480"},
    ),
    # Nothing rings on a usual day: some errors, one crash, an upgrade, a slow answer, few drawings.
    "": (
        480,
        {
            f"up{{{HOST}}}": "1x480",
            ANSWERED % 200: "0+1000x480",
            ANSWERED % 503: "0+5x480",
            f"numdraw_start_time_seconds{{{HOST}}}": "1x200 2x280",
            f"numdraw_workers{{{HOST}}}": "2x480",
            f'numdraw_worker_restarts_total{{{HOST},reason="ended"}}': "0x475 1x5",
            f'numdraw_worker_restarts_total{{{HOST},reason="hung"}}': "0x480",
            f'numdraw_reloads_total{{{HOST},result="failed"}}': "0x480",
            TOOK % 0.05: "0+995x480",
            TOOK % "+Inf": "0+1000x480",
            f'numdraw_model_info{{{HOST},version="one"}}': "1x480",
            f"numdraw_log_lines_lost_total{{{HOST}}}": "3x480",
            f"numdraw_resident_memory_bytes{{{HOST}}}": "120000000x480",
            UNSURE: "0+1x480",
            f"numdraw_refusals_total{{{HOST}}}": "0+2x480",
            DRAWINGS: "0+10x480",
        },
    ),
}


def test_every_alarm_is_rung() -> None:
    assert sorted(filter(None, CASES)) == sorted(ALARMS)


@pytest.mark.parametrize("alarm", CASES, ids=lambda alarm: alarm or "none")
def test_an_alarm_rings_alone(alarm: str, tmp_path: Path) -> None:
    minutes, series = CASES[alarm]
    rung = [{"labels": f'{{alertname="{alarm}"}}', "value": 1}] if alarm else []
    case: dict[str, Any] = {
        "interval": "1m",
        "input_series": [{"series": name, "values": text} for name, text in series.items()],
        "promql_expr_test": [
            {
                "expr": 'max by (alertname) (ALERTS{alertstate="firing"} == 1)',
                "eval_time": f"{minutes}m",
                "exp_samples": rung,
            }
        ],
    }
    # JSON is YAML.
    case_file = tmp_path / "case.yml"
    case_file.write_text(
        json.dumps({"rule_files": [str(RULES)], "evaluation_interval": "1m", "tests": [case]})
    )
    done = promtool("test", "rules", case_file)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_finds_no_fault_in_the_alarms() -> None:
    done = promtool("check", "rules", RULES)
    assert done.returncode == 0, done.stdout + done.stderr


def promtool(*words: str | Path) -> "subprocess.CompletedProcess[str]":
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("promtool is not installed: apt-get install prometheus")
    return subprocess.run([program, *words], capture_output=True, text=True, check=False)
