"""The kinds of teams, for tests that hold for each."""

import sys

import pytest

from numdraw.nn.team import ProcessTeam, Team

on_linux = pytest.mark.skipif(sys.platform != "linux", reason="processes are forked on Linux only")
# From Python 3.12; the tests themselves have threads, BLAS's.
_warned = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
_processes = pytest.param(ProcessTeam, marks=[on_linux, _warned])

of_each_kind = pytest.mark.parametrize("kind", [Team, _processes])
of_processes = pytest.mark.parametrize("kind", [_processes])
