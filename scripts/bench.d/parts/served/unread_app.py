"""numdraw's application under bjoern, which reads no drawing: it answers the same to all.

python -m benchmarks.parts.served.unread_app ADDRESS     HOST:PORT or unix:PATH
"""

import logging
import sys

from benchmarks.parts.served.answers import maybe_unread
from benchmarks.parts.served.bare_app import serve
from numdraw import Predictor
from numdraw.app import make_app

if __name__ == "__main__":
    logging.getLogger("numdraw.access").disabled = True
    serve(make_app(maybe_unread(Predictor.load())), sys.argv[1])
