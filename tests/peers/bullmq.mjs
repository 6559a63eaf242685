// BullMQ: one worker, concurrency 256 (100 where it is killed).
// `node bullmq.mjs throughput|latency|killed [--tasks N] [--bound S]`: as the peers in Python, see stage.py.

import { spawn } from "node:child_process";
import { openSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

// Installed beside the Python environment, not beside this file.
const installed = createRequire(`${process.env.PEERS_DIR}/`);
const { Queue, Worker } = installed("bullmq");
const { default: Redis } = installed("ioredis");

const [what, ...rest] = process.argv.slice(2);
const option = (name, otherwise) => (rest.includes(name) ? Number(rest[rest.indexOf(name) + 1]) : otherwise);
const tasks = option("--tasks", 100_000);
const bound = option("--bound", 120);

const BATCH = 1_000; // Jobs of one `addBulk`,
const BATCHES = 8; // and how many of these are under way at a time.
const [ALONE, WARM_UP, PAUSE_MS, IN_FLIGHT] = [500, 50, 4, 100];

const url = new URL(process.env.PEERS_REDIS);
const connection = () => new Redis(url.href, { maxRetriesPerRequest: null });
const store = connection();
const now = () => process.hrtime.bigint(); // CLOCK_MONOTONIC: the same for all processes.

const jobs = {
  noop: async () => {},
  answer: async (job) => void (await store.rpush("peers:latencies", String(now() - BigInt(job.data.sent)))),
  hold: async () => {
    if (process.env.PEERS_HOLD) {
      await store.rpush("peers:held", 1);
      await sleep(2 ** 31 - 1);
    }
    await store.rpush("peers:again", 1);
  },
};

const workers = [];
function startWorker(concurrency, environment = {}) {
  const log = openSync(`${process.env.PEERS_LOGS}/worker.log`, "a");
  const script = [fileURLToPath(import.meta.url), "work", "--concurrency", concurrency];
  const env = { ...process.env, ...environment };
  const worker = spawn(process.execPath, script, { env, stdio: ["ignore", log, log], detached: true });
  workers.push(worker);
  return worker;
}

async function until(look) {
  for (;;) {
    const seen = await look();
    if (seen) return seen;
    await sleep(10);
  }
}

async function throughput(queue) {
  const batch = Array.from({ length: BATCH }, () => ({ name: "noop", data: {}, opts: { removeOnComplete: true } }));
  let left = Math.ceil(tasks / BATCH);
  const producer = async () => {
    while (left-- > 0) await queue.addBulk(batch);
  };
  let begin = now();
  await Promise.all(Array.from({ length: BATCHES }, producer));
  const seconds = () => Number(now() - begin) / 1e9;
  const enqueued = tasks / seconds();
  startWorker(256);
  const open = async () => (await store.llen("bull:peers:wait")) + (await store.llen("bull:peers:active"));
  // From when the worker is at work (a twentieth is done) until nothing is left.
  const first = await until(async () => {
    const count = await open();
    return count <= tasks * 0.95 && count;
  });
  begin = now();
  await until(async () => (await open()) === 0);
  return { enqueued, processed: first / seconds() };
}

async function latency(queue) {
  startWorker(256);
  const spans = [];
  for (let number = 0; number < WARM_UP + ALONE; number++) {
    await sleep(PAUSE_MS);
    await queue.add("answer", { sent: String(now()) }, { removeOnComplete: true });
    spans.push(Number((await store.blpop("peers:latencies", 60))[1]));
  }
  const ordered = spans.slice(WARM_UP).sort((a, b) => a - b);
  const rank = (percent) => ordered[Math.max(0, Math.ceil((ordered.length * percent) / 100) - 1)] / 1e6;
  return { p50: rank(50), p99: rank(99) };
}

async function killed(queue) {
  const victim = startWorker(IN_FLIGHT, { PEERS_HOLD: "1" });
  await queue.addBulk(Array.from({ length: IN_FLIGHT }, () => ({ name: "hold", data: {} })));
  await until(async () => (await store.llen("peers:held")) === IN_FLIGHT);
  // The other one is there, with nothing to do, before the first one dies.
  await store.del("peers:ready");
  startWorker(IN_FLIGHT);
  await store.blpop("peers:ready", 60);
  victim.kill("SIGKILL");
  const dead = now();
  const waited = () => Number(now() - dead) / 1e9;
  let again = 0;
  while ((again = await store.llen("peers:again")) < IN_FLIGHT && waited() < bound) await sleep(20);
  return { again, seconds: again >= IN_FLIGHT ? waited() : null };
}

if (what === "work") {
  const concurrency = option("--concurrency", 256);
  const worker = new Worker("peers", (job) => jobs[job.name](job), { connection: connection(), concurrency });
  worker.on("ready", () => store.rpush("peers:ready", 1));
} else {
  const end = (code) => {
    workers.forEach((worker) => worker.kill("SIGKILL"));
    process.exit(code);
  };
  process.on("SIGTERM", () => end(1));
  try {
    const queue = new Queue("peers", { connection: connection() });
    console.log(JSON.stringify(await { throughput, latency, killed }[what](queue)));
    end(0);
  } catch (error) {
    console.error(error);
    end(1);
  }
}
