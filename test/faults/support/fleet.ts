import { setTimeout as sleep } from "node:timers/promises";
import { type Api, connect } from "../../support/api.js";
import type { LogLine } from "../../support/observed-service.js";
import { runService, type ServiceProcess } from "../../support/service-process.js";
import type { Random } from "./random.js";

/** Several processes of the service on one database, of which any may die at any time. */
export interface Fleet {
  /** A service that is up, any of them; waits while there is none. */
  any(): Promise<Api>;
  /** Each service, once all are up. */
  all(): Promise<Api[]>;
  /** Kills one that is up with SIGKILL and starts another in its place at once. */
  killOne(): Promise<void>;
  /** What any of them took for a fault of its own, which no caller may meet. */
  complaints(): string[];
}

interface Member {
  process: ServiceProcess;
  api: Api | undefined;
}

/** How long a new process may take until it can be called, with all cores taken. */
const START_MS = 120_000;

export async function startFleet(size: number, random: Random, env: Readonly<Record<string, string>>): Promise<Fleet> {
  const members = Array.from({ length: size }, () => begin({ env }));
  const former: ServiceProcess[] = [];
  const fleet: Fleet = {
    async any() {
      return random.pick(await upMembers(1)).api as Api;
    },
    async all() {
      return (await upMembers(size)).map(({ api }) => api as Api);
    },
    async killOne() {
      const victim = random.pick(await upMembers(1));
      victim.api = undefined;
      victim.process.kill("SIGKILL");
      former.push(victim.process);
      begin({ env, member: victim });
    },
    complaints: () =>
      [...former, ...members.map(({ process }) => process)].flatMap((process) => [
        ...process
          .lines()
          .filter(isFault)
          .map((line) => JSON.stringify(line)),
        ...process.output().stderr.split("\n").filter(Boolean),
      ]),
  };
  async function upMembers(atLeast: number): Promise<Member[]> {
    for (const deadline = Date.now() + START_MS; ; await sleep(10)) {
      const up = members.filter(({ api }) => api);
      if (up.length >= atLeast) return up;
      if (Date.now() > deadline) throw new Error(`only ${up.length} of ${size} services are up`);
    }
  }
  await fleet.all();
  return fleet;
}

/** Level 50 of pino's log is `error`. */
function isFault({ level }: LogLine): boolean {
  return Number(level) >= 50 || level === "error" || level === "fatal";
}

function begin({ env, member }: { env: Readonly<Record<string, string>>; member?: Member }): Member {
  const process = runService({ ...env, SESSIONS_LOG_FORMAT: "json" });
  const begun = member ?? { process, api: undefined };
  begun.process = process;
  process.ready().then(
    ({ grpc }) => {
      const api = connect(grpc);
      begun.api = api;
      void process.exited.then(() => api.close());
    },
    // Whoever waits for it tells.
    () => {},
  );
  return begun;
}
