"""nginx out of one folder, with the files of the checkout, for the benchmarks."""

import os
import shutil
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
SBIN = "/usr/local/sbin:/usr/sbin:/sbin"  # not on every user's path


def program() -> str | None:
    """The nginx to run, as scripts/lib.sh has it; None where there is none."""
    name = os.environ.get("NUMDRAW_NGINX", "nginx")
    return shutil.which(name) or shutil.which(name, path=SBIN)


def files(folder: Path, address: str, page: Path, unix: Path, site: str = "numdraw.conf") -> None:
    """Write its files into a folder, as scripts/serve does.

    Args:
        address: to listen on, with the port.
        unix: the workers' socket.
        site: the site's file in nginx/.
    """
    command = '. "$0"; nginx_files "$@"'
    library = ROOT / "scripts" / "lib.sh"
    subprocess.run(["bash", "-c", command, library, folder, address, page, unix, site], check=True)


def command(folder: Path) -> list[str | Path]:
    """What runs it on the files in the folder."""
    return [program() or "nginx", "-e", "stderr", "-p", f"{folder}/", "-c", folder / "nginx.conf"]
