"""RedBeat: two Celery beats with one lock in Redis; the one that has it is killed. `python redbeat_peer.py`"""

import json
import signal
import sys
import time

import celery

import processes
import stage

PERIOD_S = 1.0
# Until the other beat may be expected; then ticks are counted for a while, for those that are made up for.
BOUND_S, AFTER = 60, 5

app = celery.Celery("redbeat_peer", broker=stage.URL)
app.conf.redbeat_lock_timeout = 5
app.conf.beat_max_loop_interval = 1
app.conf.beat_schedule = {"tick": {"task": "tick", "schedule": PERIOD_S}}


def start_beat():
    command = [sys.executable, "-m", "celery", "-A", "redbeat_peer", "beat", "-S", "redbeat.RedBeatScheduler"]
    return processes.start(command, stage.log("beat"), PYTHONPATH=stage.HERE)


def ticks_until(is_enough):
    """Moments at which messages came into the queue, which nobody empties."""
    ticks = []
    while not is_enough(ticks):
        new = stage.store.llen("celery") - ticks_until.seen
        ticks_until.seen += new
        ticks += [time.monotonic()] * new
        time.sleep(0.002)
    return ticks


ticks_until.seen = 0


def measure():
    active = start_beat()
    ticks_until(lambda ticks: len(ticks) >= 3)
    # It finds the lock taken.
    start_beat()
    before = ticks_until(lambda ticks: len(ticks) >= 5)
    processes.kill(active)
    dead = time.monotonic()
    after = ticks_until(lambda ticks: ticks or time.monotonic() > dead + BOUND_S)
    if not after:
        return {"gap": None, "lost": None}
    gap = after[0] - before[-1]
    until = after[0] + (AFTER + 0.5) * PERIOD_S
    made_up = len(after) - 1 + len(ticks_until(lambda _: time.monotonic() > until)) - AFTER
    # The one that ends the gap is late, not lost.
    return {"gap": gap, "lost": max(0, int(gap / PERIOD_S) - 1 - made_up)}


if __name__ == "__main__":
    processes.adopt_orphans()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        print(json.dumps(measure()))
    finally:
        processes.kill_all()
