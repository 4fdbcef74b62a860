"""What Python runs, with -c, to serve in ways that tests need and nobody else does."""

# Runs numdraw.serve with requests that never end: in Python, and in C with the interpreter's lock
# held, where neither a thread nor a signal's handler gets its turn.
HANGING = """
import collections, itertools, os, sys
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from numdraw.app import App
from numdraw.serve import main
respond = App._respond

def hang(self, request):
    how = request.environ.get("QUERY_STRING")
    while how == "loop":
        pass
    if how == "lock":
        collections.deque(itertools.repeat(0), maxlen=0)
    return respond(self, request)

App._respond = hang
sys.exit(main())
"""

# Runs numdraw.serve with standard streams that are a full pipe; whoever reads it is asleep.
BLOCKED = """
import os, sys
reader, writer = os.pipe()
os.set_inheritable(reader, True)
os.set_blocking(writer, False)
for size in (4096, 1):
    try:
        while True:
            os.write(writer, size * b"\\n")
    except BlockingIOError:
        pass
os.set_blocking(writer, True)
os.dup2(writer, 1)
os.dup2(writer, 2)
os.execv(sys.executable, [sys.executable, "-m", "numdraw.serve", *sys.argv[1:]])
"""

# Starts numdraw.serve again when it ends, after systemd's RestartSec. With "activated" it holds the
# socket itself and hands it over as systemd does.
SUPERVISOR = """
import os, signal, socket, sys, time
*options, flag, path = sys.argv[2:]
command = [sys.executable, "-m", "numdraw.serve", *options]
sock = None
if sys.argv[1] == "activated":
    sock = socket.socket(socket.AF_UNIX)
    sock.bind(path)
    os.chmod(path, 0o666)
    sock.listen(1024)
else:
    command += [flag, path]
stopping = False

def stop(number, frame):
    global stopping
    stopping = True
    os.kill(pid, number)

while not stopping:
    pid = os.fork()
    if not pid:
        if sock:
            if sock.fileno() == 3:
                os.set_inheritable(3, True)
            else:
                os.dup2(sock.fileno(), 3)
            os.environ.update(LISTEN_FDS="1", LISTEN_PID=str(os.getpid()))
        os.execv(sys.executable, command)
    signal.signal(signal.SIGTERM, stop)
    os.waitpid(pid, 0)
    time.sleep(0.1)
"""
SUPERVISED, ACTIVATED = ("-c", SUPERVISOR, "plain"), ("-c", SUPERVISOR, "activated")
