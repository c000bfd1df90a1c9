import { existsSync } from "node:fs";
import { cp, readFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { describe, expect, it, onTestFinished } from "vitest";
import { FOREIGN_CLIENTS, pythonTools, run } from "./support/foreign-clients.js";
import { startService } from "./support/service.js";
import { temporaryFolder } from "./support/temporary-folder.js";

const here = (path: string): string => fileURLToPath(new URL(`../${path}`, import.meta.url));

/** What the README says for Python, as it is there: the commands, and the script. */
async function sayings(): Promise<{ readonly generate: string; readonly script: string }> {
  const readme = await readFile(here("README.md"), "utf8");
  const section = readme.slice(readme.indexOf("\n### Python\n"));
  const [, commands = ""] = /```sh\n(.*?)```/s.exec(section) ?? [];
  const [, script = ""] = /```python\n(.*?)```/s.exec(section) ?? [];
  const generate = commands.split("\n").find((line) => line.startsWith("python -m grpc_tools.protoc ")) ?? "";
  return { generate, script };
}

describe.runIf(FOREIGN_CLIENTS)("the README's Python", () => {
  it("makes stubs with types, adds, reads, lists, and tells what went wrong, also where nobody answered", async () => {
    const packages = await pythonTools();
    const { generate, script } = await sayings();
    const folder = await temporaryFolder();
    await cp(here("proto"), join(folder, "proto"), { recursive: true });
    const PYTHONPATH = `${packages}:${folder}`;
    const made = await run("sh", ["-c", generate.replace(/^python /, "python3 ")], { PYTHONPATH }, folder);
    expect(made).toMatchObject({ code: 0 });
    for (const ending of ["_pb2.py", "_pb2.pyi", "_pb2_grpc.py"]) {
      expect(existsSync(join(folder, `sessions/v1/memory_service${ending}`)), ending).toBe(true);
    }

    const service = await startService();
    onTestFinished(() => service.stop());
    const tell = (text: string) =>
      run("python3", ["-c", text.replace("127.0.0.1:50051", service.address)], { PYTHONPATH }, folder);
    const said = "1 Ann Where to?\ntrip-44 1\n";
    expect(await tell(script)).toMatchObject({ code: 0, stdout: `${said}NOT_FOUND SESSION_NOT_FOUND\n` });
    // A deadline that passes on this side has no details.
    const late = script.replace("timeout=5", "timeout=0.000001");
    expect(late).not.toBe(script);
    expect(await tell(late)).toMatchObject({ code: 0, stdout: `${said}DEADLINE_EXCEEDED \n` });
  }, 1_200_000);
});
