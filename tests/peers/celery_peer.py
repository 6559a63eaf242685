"""Celery: workers of the pool `solo`, acknowledging early (its default) or late (`PEERS_ACKS_LATE=1`)."""

import os
import sys

import celery

import processes
import stage

app = celery.Celery("celery_peer", broker=stage.URL)
app.conf.task_ignore_result = True
app.conf.task_acks_late = "PEERS_ACKS_LATE" in os.environ
app.conf.worker_hijack_root_logger = False
if seconds := os.environ.get("PEERS_VISIBILITY_TIMEOUT"):
    app.conf.broker_transport_options = {"visibility_timeout": int(seconds)}


@app.task
def noop():
    pass


@app.task
def answer(sent_ns):
    stage.answer(sent_ns)


@app.task
def hold():
    stage.hold()


class Celery(stage.Peer):
    def __init__(self):
        self.started = 0

    def workers(self):
        return 2

    def start_worker(self, name="worker", pool=("solo", 1, 64), level="error", **environment):
        kind, concurrency, prefetch = pool
        self.started += 1
        command = [sys.executable, "-m", "celery", "-A", "celery_peer", "worker", "-P", kind, "-c", concurrency]
        command += [f"--prefetch-multiplier={prefetch}", "-n", f"w{self.started}@peers", f"--loglevel={level}"]
        # As little as possible beside the tasks.
        command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        return processes.start(command, stage.log(name), PYTHONPATH=stage.HERE, **environment)

    def send(self, what, *args):
        {"noop": noop, "answer": answer, "hold": hold}[what].apply_async(args)

    def left(self):
        return stage.store.llen("celery") + stage.store.hlen("unacked")


class HoldingCelery(Celery):
    """Has as many tasks in its hands as it has threads: `solo` runs one at a time."""

    READY = " ready."

    def start_worker(self, **environment):
        return super().start_worker(pool=("threads", stage.IN_FLIGHT, 1), level="info", **environment)


if __name__ == "__main__":
    stage.main(HoldingCelery() if "killed" in sys.argv else Celery())
