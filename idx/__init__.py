"""The IDX format of MNIST's files: read, write, append to and memory-map arrays.

    images = idx.read("train-images-idx3-ubyte")     # or .gz, or bytes
    idx.write("copy-idx3-ubyte.gz", images)          # atomic; compressed for a name in .gz
    idx.append("copy-idx3-ubyte.gz", images[:10])    # ten more along the first dimension
    mapped = idx.memmap("train-images-idx3-ubyte")   # nothing read until it is touched

All that is wrong with a file's content is an IdxError (a ValueError) that names the file and the
byte; a file that is missing or may not be read is the usual OSError. The format allows arrays of
255 dimensions; NumPy holds at most 64, and more are refused.
"""

from idx._format import IdxError
from idx._io import append, dumps, memmap, read, write

__all__ = ["IdxError", "append", "dumps", "memmap", "read", "write"]
