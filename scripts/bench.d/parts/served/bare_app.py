"""bjoern with next to nothing behind it: what a request costs before numdraw sees it.

    python -m benchmarks.parts.served.bare_app ADDRESS     HOST:PORT or unix:PATH

GET is answered with hello_world. Of POST the body is read, and the answer is as long as that to a
drawing, but no prediction is made.
"""

import os
import sys
from collections.abc import Iterable

import bjoern

from numdraw.wsgi import Application, Environ, StartResponse

HELLO = b"hello_world"
ANSWER = b" " * 3000  # bytes; with the image that the page asks for


def app(environ: Environ, start_response: StartResponse) -> Iterable[bytes]:
    """Answer without looking."""
    body = HELLO
    if environ["REQUEST_METHOD"] == "POST":
        environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"]))
        body = ANSWER
    headers = [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))]
    start_response("200 OK", headers)
    return [body]


def serve(application: Application, address: str) -> None:
    """Serve until a signal ends it."""
    os.umask(0)  # nginx's workers may be another user
    if address.startswith("unix:"):
        bjoern.run(application, address)
    else:
        host, port = address.rsplit(":", 1)
        bjoern.run(application, host, int(port))


if __name__ == "__main__":
    serve(app, sys.argv[1])
