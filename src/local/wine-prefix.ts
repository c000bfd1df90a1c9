import { copyFile, mkdir, mkdtemp, readdir, rename, rm, stat, symlink } from "node:fs/promises";
import { join } from "node:path";
import { run } from "./command.js";
import type { Environment } from "./environment.js";
import { INSTEAD, LocalMongoError } from "./errors.js";
import { waitForLock } from "./lock.js";
import type { Wine } from "./wine.js";

/*
 * A prefix is Wine's Windows installation: 700 MB and 7 seconds to make. All processes of one prefix share one server
 * process, and with it one fate. So one template is made and kept in the cache, and each `mongod` gets a prefix of its own
 * whose big, read-only part is a link into the template: made in milliseconds, and ended as a whole without touching
 * another's.
 */
const MAKE_TIMEOUT_MS = 3 * 60_000;
const OWN_FILES = ["system.reg", "user.reg", "userdef.reg", ".update-timestamp"];
const RUN_PREFIX = "wine-";

/** Without the programs for .NET and HTML, which it would offer to download. */
const WHEN_MAKING: Environment = { WINEDEBUG: "-all", WINEDLLOVERRIDES: "mscoree=;mshtml=" };

const WHEN_RUNNING: Environment = {
  WINEDEBUG: "-all",
  // What Wine starts beside the first program of a prefix: services, devices, a desktop. A database server needs none of
  // it; it would cost half a second at the start, and most of a second at the end, to be ended.
  // The C++ runtime, though, is the one that lies beside the program, or none ("n"): never Wine's.
  WINEDLLOVERRIDES:
    "wineboot.exe=d;services.exe=d;explorer.exe=d;mscoree=;mshtml=;msvcp140,vcruntime140,vcruntime140_1=n",
  // mongod loads the symbols of its libraries at the start, for stack traces; under Wine that takes two seconds.
  DBGHELP_NOLIVE: "1",
};

export async function ensurePrefixTemplate(
  cache: string,
  wine: Wine,
  env: Environment,
  log: (line: string) => void,
): Promise<string> {
  // Another version of Wine would upgrade it in place, under the feet of those that use it.
  const template = join(cache, `prefix-${wine.version.replaceAll(/[^\w.~-]+/g, "_")}`);
  if (await exists(template)) return template;
  const lock = await waitForLock(join(cache, "prefix.lock"), {
    env,
    timeoutMs: MAKE_TIMEOUT_MS,
    onWait: () => log("waiting for another process that is setting up Wine"),
  });
  try {
    if (!(await exists(template))) await makeTemplate(cache, template, wine, env, log);
    return template;
  } finally {
    await lock.release();
  }
}

async function makeTemplate(
  cache: string,
  template: string,
  wine: Wine,
  env: Environment,
  log: (line: string) => void,
): Promise<void> {
  log("setting up Wine, once (about 10 seconds)");
  const draft = await mkdtemp(join(cache, "prefix-draft-"));
  try {
    const wineEnv = { ...WHEN_MAKING, PATH: env.PATH, HOME: env.HOME, WINEPREFIX: draft };
    const made = await run(wine.loader, ["wineboot", "--init"], { env: wineEnv, timeoutMs: MAKE_TIMEOUT_MS });
    // Its registry reaches the disk when its server ends.
    await run(wine.server, ["-w"], { env: wineEnv, timeoutMs: MAKE_TIMEOUT_MS });
    const missing = (await Promise.all(OWN_FILES.map((name) => exists(join(draft, name))))).includes(false);
    if (!made.ok || missing) throw new LocalMongoError(`Wine could not be set up (${made.complaint}). ${INSTEAD}`);
    await rename(draft, template);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

export interface RunPrefix {
  readonly env: Environment;
  dispose(): Promise<void>;
}

/** A prefix for one run. Its name is new each time: a server that still goes down is never mistaken for the new one's. */
export async function prefixFor(folder: string, template: string, wine: Wine): Promise<RunPrefix> {
  await endFormerRuns(folder, wine);
  const prefix = await mkdtemp(join(folder, RUN_PREFIX));
  await Promise.all(OWN_FILES.map((name) => copyFile(join(template, name), join(prefix, name))));
  const devices = join(prefix, "dosdevices");
  await mkdir(devices);
  await symlink(join(template, "drive_c"), join(prefix, "drive_c"));
  await symlink("../drive_c", join(devices, "c:"));
  await symlink("/", join(devices, "z:"));
  return {
    env: { ...WHEN_RUNNING, ...whereIs(prefix) },
    dispose: () => remove(prefix),
  };
}

/** What a run that was killed together with its supervisor left behind. Ending the server ends its `mongod` too. */
async function endFormerRuns(folder: string, wine: Wine): Promise<void> {
  for (const name of await readdir(folder)) {
    if (!name.startsWith(RUN_PREFIX)) continue;
    const prefix = join(folder, name);
    await run(wine.server, ["-k"], { env: whereIs(prefix), timeoutMs: 30_000 });
    await remove(prefix);
  }
}

/** A server that nobody has ended goes by itself some seconds later, and takes its files away under our feet. */
function remove(prefix: string): Promise<void> {
  return rm(prefix, { recursive: true, force: true, maxRetries: 10 });
}

/**
 * Nothing of the user's environment: HOME only names where Wine looks for a prefix, and PATH is never searched. Debian's Wine
 * keeps the socket of a prefix's server in TMPDIR and leaves the folder there; in the prefix it goes with that.
 */
function whereIs(prefix: string): Environment {
  return { WINEPREFIX: prefix, TMPDIR: prefix, PATH: "/usr/bin:/bin", HOME: prefix };
}

async function exists(path: string): Promise<boolean> {
  try {
    await stat(path);
    return true;
  } catch {
    return false;
  }
}
