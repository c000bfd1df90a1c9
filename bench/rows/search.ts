import { setTimeout as sleep } from "node:timers/promises";
import { addMemory, getMemory, PATHS, searchMemory } from "../data/requests.js";
import { seedSessions } from "../data/seed.js";
import type { Row, Side } from "../harness/row.js";
import type { Bench } from "../setup/bench.js";
import { serviceWith } from "./other-services.js";
import { coldSettings, coldUsers, searchedUser, searchStage } from "./scopes.js";
import { MANY, serviceLatency, serviceSpeed } from "./sides.js";

/** How long a search takes that finds an index, and one that has to make it; what it costs, and what others notice of it. */

/** Of those of the sides that read or add. */
const SESSIONS = 100;
const READ = 50;
const SEARCH_EVERY_MS = 100;

/** What is still under way is not to fall into what is measured next. */
const BEFORE_MS = 300;

/** A search in a whole memory, against the reading of the newest of one session. */
const warmRow: Row = {
  name: "search_10k",
  unit: "ms",
  target: { atMost: 2 },
  stage: "search",
  async prepare(bench) {
    const { stage, sessions } = await readSessions(bench);
    const ours = await searching(bench, bench.scale.scopeMessages);
    const requests = sessions.map((session) => getMemory(session, READ));
    return { ours, baselines: [await serviceLatency(stage, PATHS.getMemory, requests)] };
  },
};

/** The first search of a user, against a cursor over the same messages that makes nothing of them. */
const coldRow: Row = {
  name: "search_10k_cold",
  unit: "ms",
  target: { atMost: 3 },
  stage: "search",
  async prepare(bench) {
    const { stage, texts } = await searchStage(bench);
    const users = await coldUsers(bench);
    const searches = users.map(({ id }, index) => searchMemory(id, texts.questions[index] as string));
    const memories = users.map(({ sessions }) => sessions);
    return {
      ours: await serviceLatency(await serviceWith(stage, coldSettings(bench)), PATHS.searchMemory, searches),
      baselines: [async (ms) => (await stage.driver.call("readAll", memories, { inFlight: 1, ms })).medianMs],
    };
  },
};

const largeRow: Row = {
  name: "search_100k",
  unit: "ms",
  target: { atMost: 15 },
  stage: "search",
  async prepare(bench) {
    return { ours: await searching(bench, bench.scale.messages), baselines: [] };
  },
};

/** What an index takes, a message, as the service itself tells. */
const bytesRow: Row = {
  name: "search_index_bytes",
  unit: "bytes/message",
  target: undefined,
  stage: "search",
  async prepare(bench) {
    const { stage, texts } = await searchStage(bench);
    const { messages } = bench.scale;
    const { id } = await searchedUser(bench, messages);
    return {
      // The same each time.
      maxRounds: 1,
      baselines: [],
      async ours() {
        const service = await stage.startAnother({ SESSIONS_WORKERS: "1" });
        try {
          const generator = await stage.startGenerator(service.address);
          const requests = [searchMemory(id, texts.questions[0] as string)];
          const load = await generator.call("load", { path: PATHS.searchMemory, requests });
          await generator.call("run", load, { inFlight: 1, ms: Number.POSITIVE_INFINITY, maxCalls: 1 });
          const metrics = await (await fetch(`http://${service.http}/metrics`)).text();
          return Number(/^sessions_search_index_bytes(?:\{[^}]*\})? (\S+)$/m.exec(metrics)?.[1]) / messages;
        } finally {
          await service.stop();
        }
      },
    };
  },
};

/** What adding costs more when somebody searches in a large memory every now and then. */
const addBesideRow: Row = {
  name: "add_memory_1_search",
  unit: "messages/s",
  target: { atLeast: 0.9 },
  stage: "search",
  async prepare(bench) {
    const { stage, texts } = await searchStage(bench);
    const { id } = await searchedUser(bench, bench.scale.scopeMessages);
    const sessions = await seedSessions(stage.database, { prefix: "add-beside", count: bench.scale.conversations });
    const requests = sessions.map((session) => addMemory(session));
    const adding = await serviceSpeed(stage, { path: PATHS.addMemory, requests, inFlight: MANY });
    const searches = texts.questions.map((question) => searchMemory(id, question));
    return {
      ours: await beside(bench, stage.service.address, searches, SEARCH_EVERY_MS, adding),
      baselines: [adding],
    };
  },
};

/** What reading takes at worst while somebody searches in large memories one after the other that nobody has searched before. */
const readBesideRow: Row = {
  name: "get_memory_p99_cold_search",
  unit: "ms",
  target: { atMost: 1.5 },
  stage: "search",
  async prepare(bench) {
    const { stage, sessions } = await readSessions(bench);
    const { texts } = await searchStage(bench);
    const service = await stage.startAnother(coldSettings(bench));
    stage.onStop(service.stop);
    const generator = await stage.startGenerator(service.address);
    const requests = sessions.map((session) => getMemory(session, READ));
    const load = await generator.call("load", { path: PATHS.getMemory, requests });
    const reading: Side = async (ms) => (await generator.call("run", load, { inFlight: MANY, ms })).p99Ms;
    const searches = (await coldUsers(bench)).map(({ id }, index) =>
      searchMemory(id, texts.questions[index] as string),
    );
    return { ours: await beside(bench, service.address, searches, 0, reading), baselines: [reading] };
  },
};

export const searchRows: readonly Row[] = [warmRow, coldRow, largeRow, bytesRow, addBesideRow, readBesideRow];

async function readSessions(bench: Bench) {
  const stage = await bench.stage("search");
  const sessions = await stage.once("read", () =>
    seedSessions(stage.database, { prefix: "read", count: SESSIONS, messages: 2 * READ }),
  );
  return { stage, sessions };
}

/** One search after the other in a memory that is known. */
async function searching(bench: Bench, messages: number): Promise<Side> {
  const { stage, texts } = await searchStage(bench);
  const { id } = await searchedUser(bench, messages);
  return serviceLatency(
    stage,
    PATHS.searchMemory,
    texts.questions.map((question) => searchMemory(id, question)),
  );
}

/** Measures something while one search after the other is made, with a pause after each. */
async function beside(
  bench: Bench,
  address: string,
  searches: readonly Uint8Array[],
  pauseMs: number,
  measured: Side,
): Promise<Side> {
  const stage = await bench.stage("search");
  const generator = await stage.startGenerator(address);
  const load = await generator.call("load", { path: PATHS.searchMemory, requests: searches });
  return async (ms) => {
    await generator.call("hog", load, 1, pauseMs);
    const figure = await measured(ms);
    const { served, refused } = await generator.call("stopHogging");
    bench.say(`${served} searches beside, ${refused} refused`);
    await sleep(BEFORE_MS);
    return figure;
  };
}
