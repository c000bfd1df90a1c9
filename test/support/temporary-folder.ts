import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";

/** A folder for the time of the test. */
export async function temporaryFolder(): Promise<string> {
  const folder = await mkdtemp(join(tmpdir(), "sessions-test-"));
  // The database of a process that a test has killed still goes down, and takes files of its own away meanwhile.
  onTestFinished(() => rm(folder, { recursive: true, force: true, maxRetries: 30 }));
  return folder;
}
