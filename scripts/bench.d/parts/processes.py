"""What processes take: processor time and memory, by /proc of Linux."""

import os
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
TICK = os.sysconf("SC_CLK_TCK")  # 1/s


@dataclass(frozen=True)
class Memory:
    """Of one process, in bytes.

    Attributes:
        private: what it shares with nobody.
        proportional: that, and its part of what it shares: PSS.
    """

    private: int
    proportional: int


def tree(root: int) -> list[int]:
    """A process and all that descend from it, the oldest first."""
    children: dict[int, list[int]] = {}
    for entry in PROC.iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [root]
    for pid in found:
        found += sorted(children.get(pid, []))
    return found


def cpu_seconds(root: int) -> dict[int, float]:
    """The processor time of a process and of each that descends from it, since it started."""
    seconds = {}
    for pid in tree(root):
        if fields := _stat(pid):
            seconds[pid] = (int(fields[11]) + int(fields[12])) / TICK  # utime, stime
    return seconds


def busy_seconds() -> float:
    """The processor time that all the machine's processes have taken since it started."""
    # cpu user nice system idle iowait irq softirq steal: all but idle and iowait
    ticks = [int(field) for field in (PROC / "stat").read_text().split("\n", 1)[0].split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) / TICK


def memory(pid: int) -> Memory:
    """What a process takes now."""
    sizes = {}
    for line in (PROC / str(pid) / "smaps_rollup").read_text().splitlines()[1:]:
        name, size, _ = line.split()
        sizes[name.rstrip(":")] = 1024 * int(size)
    return Memory(sizes["Private_Clean"] + sizes["Private_Dirty"], sizes["Pss"])


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat from the third, the state, on; none if it has ended."""
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []
    return text.rpartition(")")[2].split()
