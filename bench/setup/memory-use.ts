import { readFile } from "node:fs/promises";
import { setTimeout as sleep } from "node:timers/promises";
import { Skipped } from "../harness/row.js";

const KB = 1024;
const SAMPLE_MS = 100;

/** The memory that a process and its children have in RAM, in MB. */
export async function residentMb(pid: number): Promise<number> {
  if (process.platform !== "linux")
    throw new Skipped("the memory of another process is read from /proc, on Linux only");
  const [status, children] = await Promise.all([
    readFile(`/proc/${pid}/status`, "utf8"),
    readFile(`/proc/${pid}/task/${pid}/children`, "utf8"),
  ]);
  const own = Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) / KB;
  const others = await Promise.all((children.match(/\d+/g) ?? []).map((child) => residentMb(Number(child))));
  return own + others.reduce((sum, mb) => sum + mb, 0);
}

/** The most that it has while something is done. */
export async function mostResidentMb(pid: number, work: () => Promise<unknown>): Promise<number> {
  let most = await residentMb(pid);
  let isDone = false;
  const watch = async (): Promise<void> => {
    while (!isDone) {
      await sleep(SAMPLE_MS);
      most = Math.max(most, await residentMb(pid));
    }
  };
  const end = (): void => {
    isDone = true;
  };
  await Promise.all([work().finally(end), watch()]);
  return most;
}
