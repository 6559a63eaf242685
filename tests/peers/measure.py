"""Starts a private Redis for each measurement, asks each peer's script, and prints medians. Called by `run`."""

import argparse
import concurrent.futures
import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import redis

import processes

HERE = pathlib.Path(__file__).resolve().parent
NODE = shutil.which("node")

# The name of each peer, its script, and what in its environment makes it this one.
PEERS = {
    "BullMQ": ([NODE, "bullmq.mjs"], {}),
    "dramatiq": ([sys.executable, "dramatiq_peer.py"], {}),
    "Celery": ([sys.executable, "celery_peer.py"], {}),
    "Celery acks_late": ([sys.executable, "celery_peer.py"], {"PEERS_ACKS_LATE": "1"}),
    "Celery acks_late, visibility 60 s": (
        [sys.executable, "celery_peer.py"],
        {"PEERS_ACKS_LATE": "1", "PEERS_VISIBILITY_TIMEOUT": "60"},
    ),
    "taskiq": ([sys.executable, "taskiq_peer.py"], {}),
    "RedBeat": ([sys.executable, "redbeat_peer.py"], {}),
}

# What is asked of whom. Those after the line wait for time limits and need no quiet machine: all at once.
FAST = ["BullMQ", "dramatiq", "Celery", "Celery acks_late"]
LONE = ["BullMQ", "Celery", "taskiq"]
KILLED = ["BullMQ", "dramatiq", "Celery", "Celery acks_late", "Celery acks_late, visibility 60 s"]

STAGES = ["throughput", "latency", "killed", "beat"]
UNITS = {
    "enqueued": ("enqueued", "tasks/s"),
    "processed": ("processed, enqueued before", "tasks/s"),
    "p50": ("enqueued until started, alone, p50", "ms"),
    "p99": ("enqueued until started, alone, p99", "ms"),
    "seconds": ("worker killed with 100 tasks in flight, until all have started elsewhere", "s"),
    "again": ("started elsewhere until then, of 100", "tasks"),
    "gap": ("active beat killed, without ticks for", "s"),
    "lost": ("ticks of 1 s that never came", "ticks"),
}


def options():
    parser = argparse.ArgumentParser(
        prog="tests/peers/run",
        description="Measures other task queues on a private Redis of this machine, with tasks that do nothing.",
        epilog="""Nothing else should run on the machine meanwhile.

examples:
  tests/peers/run
  tests/peers/run --tasks 100000 --runs 5 --json
  tests/peers/run --only throughput,latency
  tests/peers/run --only killed --bound 1000     # dramatiq needs some ten minutes""",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--dir", type=pathlib.Path, metavar="DIR", help="where they are installed (target/peers)")
    add("--tasks", type=int, default=50_000, metavar="N", help="of each run (50000; Celery a fifth)")
    add("--runs", type=int, default=3, metavar="N", help="how often all is measured (3)")
    add("--bound", type=float, default=120, metavar="S", help="how long tasks of the killed are waited for (120)")
    add("--only", default=",".join(STAGES), metavar="WHAT,WHAT", help="of " + ", ".join(STAGES))
    add("--json", action="store_true", help="one JSON object in place of the table")
    args = parser.parse_args()
    if args.tasks < 1_000 or args.runs < 1 or args.bound <= 0:
        parser.error("--tasks takes 1000 or more, --runs 1 or more, --bound more than 0")
    if unknown := set(args.only.split(",")) - set(STAGES):
        parser.error(f"--only takes {', '.join(STAGES)}, not `{unknown.pop()}`")
    return args


@contextlib.contextmanager
def redis_server(home):
    """A Redis of one's own that keeps nothing on the disk, as the one that beatmesh is measured on."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = ["redis-server", "--port", port, "--bind", "127.0.0.1", "--dir", home]
    command += ["--save", "", "--appendonly", "no"]
    server = processes.start(command, home / "redis.log")
    try:
        client = redis.Redis(port=port)
        for _ in range(1_000):
            with contextlib.suppress(redis.ConnectionError):
                client.ping()
                break
            if server.poll() is not None:
                sys.exit(f"redis-server has ended: {(home / 'redis.log').read_text()}")
            time.sleep(0.01)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        processes.kill(server)


def ask(args, peer, *words):
    """One measurement of one peer; answers what its script says."""
    command, environment = PEERS[peer]
    with tempfile.TemporaryDirectory(dir=args.dir, prefix="run-") as home:
        home = pathlib.Path(home)
        with redis_server(home) as url:
            script = subprocess.Popen(
                [command[0], str(HERE / command[1]), *map(str, words)],
                cwd=HERE,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                env=os.environ | environment | {"PEERS_REDIS": url, "PEERS_LOGS": str(home), "PEERS_DIR": str(args.dir)},
                start_new_session=True,
                text=True,
            )
            said, _ = script.communicate()
        if script.returncode != 0:
            logs = "".join(f"--- {log.name}\n{log.read_text()[-2_000:]}" for log in sorted(home.glob("*.log")))
            raise RuntimeError(f"{peer} {' '.join(map(str, words))} has failed ({script.returncode})\n{logs}")
        return json.loads(said)


def measure(args):
    """Answers `{(peer, figure): [value, ...]}`."""
    only, found = args.only.split(","), {}

    def note(peer, what, measured):
        for figure, value in measured.items():
            found.setdefault((peer, figure), []).append(value)
        shown = ", ".join(f"{figure} {show(value, figure, args)}" for figure, value in measured.items())
        print(f"{peer}, {what}: {shown}", file=sys.stderr, flush=True)

    for _ in range(args.runs):
        for peer in FAST if "throughput" in only else []:
            tasks = args.tasks // 5 if peer.startswith("Celery") else args.tasks
            note(peer, "throughput", ask(args, peer, "throughput", "--tasks", tasks))
        for peer in LONE if "latency" in only else []:
            note(peer, "latency", ask(args, peer, "latency"))
    waiting = []
    if "killed" in only:
        waiting.append([(peer, "killed", "--bound", args.bound) for peer in KILLED])
    if "beat" in only:
        waiting.append([("RedBeat",)])
    for at_once in waiting:
        at_once = [words for words in at_once for _ in range(args.runs)]
        with concurrent.futures.ThreadPoolExecutor(len(at_once)) as pool:
            asked = {pool.submit(ask, args, *words): words[0] for words in at_once}
            try:
                for done in concurrent.futures.as_completed(asked):
                    note(asked[done], "killed", done.result())
            except BaseException:
                # Else the pool waits for the others.
                processes.kill_all()
                raise
    return found


def show(value, figure, args):
    if value is None:
        return f"not within {args.bound:g} s"
    unit = UNITS[figure][1]
    return f"{value:.2f} {unit}" if unit in ("s", "ms") else f"{value:,.0f} {unit}"


def middle(ordered):
    return ordered[(len(ordered) - 1) // 2]


def report(args, found):
    # What did not come counts as later than all that did.
    key = lambda value: float("inf") if value is None else value
    rows = {where: sorted(values, key=key) for where, values in found.items()}
    if args.json:
        figures = [
            dict(zip(("peer", "what", "unit", "median", "all"), (peer, *UNITS[figure], middle(values), values)))
            for (peer, figure), values in rows.items()
        ]
        print(json.dumps({"tasks": args.tasks, "runs": args.runs, "bound_s": args.bound, "figures": figures}))
        return
    print(f"| figure | peer | median of {args.runs} | range |\n|---|---|---|---|")
    for figure, (what, _) in UNITS.items():
        for (peer, its), values in rows.items():
            if its == figure:
                least, median, most = (show(value, figure, args) for value in (values[0], middle(values), values[-1]))
                print(f"| {what} | {peer} | {median} | {least} to {most} |")


def main():
    args = options()
    processes.adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended; nothing is left running"))
    # Also where whoever started this ignores it, as shells do for what they start in the background.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        report(args, measure(args))
    except KeyboardInterrupt:
        sys.exit("interrupted; nothing is left running")
    except RuntimeError as problem:
        sys.exit(f"error: {problem}")
    finally:
        processes.kill_all()


if __name__ == "__main__":
    main()
