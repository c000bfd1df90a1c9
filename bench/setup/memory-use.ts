import { readFile } from "node:fs/promises";
import { Skipped } from "../harness/row.js";

const KB = 1024;

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
