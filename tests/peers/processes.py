"""Processes that never outlive who started them: ended by their ids, with all that descend from them."""

import ctypes
import os
import signal
import subprocess
import time

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None)


def adopt_orphans():
    """What descends from this process stays its descendant when those in between die."""
    _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def start(command, log, **environment):
    """Starts a command; what it says goes to the end of the file `log`."""
    with open(log, "ab") as out:
        return subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=os.environ | {name: str(value) for name, value in environment.items()},
            # Ctrl-C is for the one in the foreground, who ends the others.
            start_new_session=True,
            # `kill -9` of who started it ends it as well.
            preexec_fn=lambda: _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0),
        )


def descendants(root):
    """Ids of the living processes that descend from `root`, parents before children."""
    parents = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/stat") as stat:
                state, parent = stat.read().rsplit(")", 1)[1].split()[:2]
        except OSError:
            continue  # It has just ended.
        if state != "Z":
            parents.setdefault(int(parent), []).append(int(name))
    found, look_at = [], [root]
    while look_at:
        children = parents.get(look_at.pop(0), [])
        found += children
        look_at += children
    return found


def kill(process):
    """`kill -9` of a process that `start` answered and of all that descend from it."""
    for pid in [process.pid, *descendants(process.pid)]:
        _kill(pid)
    process.wait()


def kill_all():
    """Ends whatever descends from this process."""
    while rest := descendants(os.getpid()):
        for pid in rest:
            _kill(pid)
        _bury()
        time.sleep(0.01)


def _kill(pid):
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def _bury():
    try:
        while os.waitpid(-1, os.WNOHANG) != (0, 0):
            pass
    except ChildProcessError:
        pass
