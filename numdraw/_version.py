"""The version of the package, read by setup.py and shown by the server."""

__version__ = "0.1.0"
