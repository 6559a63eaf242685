"""What all peers written in Python are asked, and how the answers are measured.

A peer's file is both the tasks that its workers import and the script that measures them:
`python PEER.py throughput|latency|killed`. The result is one JSON object on stdout. The Redis is at the URL in
`PEERS_REDIS`, logs go into the directory `PEERS_LOGS`.
"""

import argparse
import json
import os
import pathlib
import signal
import sys
import time

import redis

import processes

URL = os.environ.get("PEERS_REDIS", "redis://127.0.0.1:6379/0")
HERE = pathlib.Path(__file__).resolve().parent

# Lone tasks whose latency is measured, and those before them that only warm everything up.
ALONE, WARM_UP = 500, 50
# Between two of them: everything is idle again.
PAUSE_S = 0.004
# Tasks that the killed worker has in its hands.
IN_FLIGHT = 100
# Until a worker runs its first task.
READY_S = 60

store = redis.Redis.from_url(URL, socket_timeout=READY_S + 10)


def answer(sent_ns):
    """A task of `latency`: how long ago it was sent. All processes share the monotonic clock."""
    store.rpush("peers:latencies", time.monotonic_ns() - sent_ns)


def hold():
    """A task of `killed`: the worker to be killed never ends it, another one does at once."""
    if "PEERS_HOLD" in os.environ:
        store.rpush("peers:held", 1)
        time.sleep(100_000)
    store.rpush("peers:again", 1)


class Peer:
    """What a peer's file fills in."""

    # What the log of a worker says when it takes tasks.
    READY = None

    def start_worker(self, name="worker", **environment):
        """Starts one worker as described in README.md, with a log of this name; answers its process."""
        raise NotImplementedError

    def workers(self):
        """How many of them share the work of `throughput`."""
        return 1

    def send(self, what, *args):
        """Enqueues the task `noop`, `answer` or `hold`."""
        raise NotImplementedError

    def left(self):
        """Tasks of `noop` that have not ended, as the store has it."""
        raise NotImplementedError

    def throughput(self, tasks):
        begin = time.monotonic()
        for _ in range(tasks):
            self.send("noop")
        enqueued = tasks / (time.monotonic() - begin)
        for _ in range(self.workers()):
            self.start_worker()
        return {"enqueued": enqueued, "processed": drained(self.left, tasks)}

    def latency(self):
        self.start_worker()
        spans = []
        for _ in range(WARM_UP + ALONE):
            time.sleep(PAUSE_S)
            self.send("answer", time.monotonic_ns())
            spans.append(int(pop("peers:latencies")))
        return percentiles(spans[WARM_UP:])

    def killed(self, bound):
        victim = self.start_worker(PEERS_HOLD=1)
        for _ in range(IN_FLIGHT):
            self.send("hold")
        until(lambda: store.llen("peers:held") == IN_FLIGHT, READY_S, f"{IN_FLIGHT} tasks run")
        # The other one is there, with nothing to do, before the first one dies.
        log("other").write_bytes(b"")
        self.start_worker(name="other")
        until(lambda: self.READY in log("other").read_text(), READY_S, "the other worker is ready")
        processes.kill(victim)
        dead = time.monotonic()
        while store.llen("peers:again") < IN_FLIGHT and time.monotonic() < dead + bound:
            time.sleep(0.02)
        waited, again = time.monotonic() - dead, store.llen("peers:again")
        return {"again": again, "seconds": waited if again >= IN_FLIGHT else None}


def drained(left, tasks):
    """Tasks per second from when the workers are at work (a twentieth is done) until nothing is left."""
    begin = until(lambda: (left() <= tasks * 0.95) and (time.monotonic(), left()), READY_S, "workers begin")
    until(lambda: left() == 0, 3_600, "nothing is left")
    return begin[1] / (time.monotonic() - begin[0])


def percentiles(nanoseconds):
    """p50 and p99 in milliseconds (nearest rank)."""
    ordered = sorted(nanoseconds)
    rank = lambda percent: ordered[max(0, -(-len(ordered) * percent // 100) - 1)]
    return {"p50": rank(50) / 1e6, "p99": rank(99) / 1e6}


def pop(key):
    found = store.blpop(key, timeout=READY_S)
    return found[1] if found else sys.exit(f"no worker has answered within {READY_S} s")


def until(look, within, what):
    """Looks until there is something true, which is answered."""
    deadline = time.monotonic() + within
    while not (seen := look()):
        if time.monotonic() > deadline:
            sys.exit(f"waited {within} s in vain until {what}")
        time.sleep(0.01)
    return seen


def log(name):
    """The file for what a process of this name says."""
    return pathlib.Path(os.environ.get("PEERS_LOGS", ".")) / f"{name}.log"


def main(peer):
    parser = argparse.ArgumentParser()
    parser.add_argument("what", choices=["throughput", "latency", "killed"])
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--bound", type=float, default=120)
    args = parser.parse_args()
    processes.adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        measured = {
            "throughput": lambda: peer.throughput(args.tasks),
            "latency": peer.latency,
            "killed": lambda: peer.killed(args.bound),
        }[args.what]()
        print(json.dumps(measured))
    finally:
        processes.kill_all()
