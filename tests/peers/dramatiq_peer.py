"""dramatiq: two processes of eight threads, prefetch 256."""

import sys

import dramatiq
from dramatiq.brokers.redis import RedisBroker

import processes
import stage

broker = RedisBroker(url=stage.URL)
dramatiq.set_broker(broker)


@dramatiq.actor
def noop():
    pass


@dramatiq.actor
def answer(sent_ns):
    stage.answer(sent_ns)


@dramatiq.actor(time_limit=10**9, max_retries=0)
def hold():
    stage.hold()


class Dramatiq(stage.Peer):
    def start_worker(self, name="worker", processes_=2, threads=8, prefetch=256, **environment):
        command = [sys.executable, "-m", "dramatiq", "dramatiq_peer", "-p", processes_, "-t", threads]
        environment |= {"dramatiq_queue_prefetch": prefetch, "PYTHONPATH": stage.HERE}
        return processes.start(command, stage.log(name), **environment)

    def send(self, what, *args):
        {"noop": noop, "answer": answer, "hold": hold}[what].send(*args)

    def left(self):
        # Messages stand in this hash until they are acknowledged.
        return stage.store.hlen("dramatiq:default.msgs")


class HoldingDramatiq(Dramatiq):
    """One process with as many tasks in its hands as it has threads, and none that waits behind them."""

    READY = "Worker process is ready"

    def start_worker(self, **environment):
        in_flight = stage.IN_FLIGHT
        return super().start_worker(processes_=1, threads=in_flight, prefetch=in_flight, **environment)


if __name__ == "__main__":
    stage.main(HoldingDramatiq() if "killed" in sys.argv else Dramatiq())
