"""taskiq with its list queue in Redis: the latency of a lone task."""

import asyncio
import sys

from taskiq_redis import ListQueueBroker

import processes
import stage

broker = ListQueueBroker(stage.URL)


@broker.task(task_name="answer")
async def answer(sent_ns: int) -> None:
    stage.answer(sent_ns)


class Taskiq(stage.Peer):
    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.loop.run_until_complete(broker.startup())

    def start_worker(self, name="worker", **environment):
        command = [sys.executable, "-m", "taskiq", "worker", "taskiq_peer:broker", "--workers", 1]
        return processes.start(command, stage.log(name), PYTHONPATH=stage.HERE, **environment)

    def send(self, what, *args):
        self.loop.run_until_complete(answer.kiq(*args))


if __name__ == "__main__":
    stage.main(Taskiq())
