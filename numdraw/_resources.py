"""Finds the folders that come with the package: the page in public/, the network in weights/."""

from pathlib import Path


def find(name: str) -> Path:
    """Return the folder `name`, in an installed package and in a checkout alike.

    A wheel carries the folder inside the package; in a checkout it lies beside the package.

    Args:
        name: "public" or "weights".

    Raises:
        FileNotFoundError: the folder is in neither place.
    """
    package = Path(__file__).resolve().parent
    for parent in (package, package.parent):
        folder = parent / name
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        f"numdraw expected the folder {name}/ in {package} or in {package.parent}, got neither; "
        "install numdraw again from its wheel or its checkout"
    )
