import { type ChildProcess, execFile, spawn, spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { DOCKERFILE, text } from "./files.js";

/**
 * The image, built by buildah out of the Dockerfile as it is, but for its base, which is made of this machine's own programs.
 * It takes root: a builder has other programs run in a folder as if that were all there is.
 */
export interface Image {
  /** The folder that its files are in. */
  readonly root: string;
  readonly config: ImageConfig;
  /** Runs a command as a container would: its own user, environment and process numbers, and nothing that can be written to. */
  start(command: readonly string[], env?: Readonly<Record<string, string>>): ChildProcess;
  remove(): Promise<void>;
}

interface ImageConfig {
  readonly Entrypoint: readonly string[];
  readonly Env: readonly string[];
  readonly Healthcheck: { readonly Test: readonly string[] };
  readonly Labels: Readonly<Record<string, string>>;
  readonly StopSignal: NodeJS.Signals;
  readonly User: string;
  readonly WorkingDir: string;
}

const execute = promisify(execFile);

/** Why no image can be built on this machine; undefined where it can. */
export function whyNoImage(): string | undefined {
  const can = (command: string): boolean => spawnSync("sh", ["-c", command]).status === 0;
  if (process.getuid?.() !== 0) return "only root can have programs run in a folder as if that were all there is";
  if (!can("command -v buildah && command -v unshare && command -v setpriv"))
    return "there is no buildah, or no util-linux";
  if (!can("unshare --mount --pid --fork sh -c 'mount -t proc proc /proc'")) return "this machine gives no namespaces";
  return undefined;
}

export async function buildImage(): Promise<Image> {
  const folder = await mkdtemp(join(tmpdir(), "sessions-image-"));
  const remove = () => rm(folder, { recursive: true, force: true });
  try {
    return { ...(await build(folder)), remove };
  } catch (error) {
    await remove();
    throw error;
  }
}

async function build(folder: string): Promise<Omit<Image, "remove">> {
  const storage = ["--storage-driver=vfs", `--root=${join(folder, "storage")}`, `--runroot=${join(folder, "run")}`];
  const buildah = async (...args: string[]): Promise<string> => {
    const { stdout } = await execute("buildah", [...storage, ...args], { maxBuffer: 64 * 1024 * 1024 });
    return stdout.trim();
  };

  const [, base = ""] = /^FROM (node:\S+)/m.exec(text(DOCKERFILE)) ?? [];
  await execute("sh", ["test/deploy/stand-in-base.sh", join(folder, "base")]);
  const draft = await buildah("from", "scratch");
  await buildah("copy", "--quiet", draft, join(folder, "base"), "/");
  await buildah("config", "--env=PATH=/usr/bin:/bin", draft);
  await buildah("commit", "--quiet", "--rm", draft, `localhost/${base}`);

  const options = ["--isolation=chroot", "--format=docker", ...(await npmSettings())];
  await buildah("build", ...options, `--file=${DOCKERFILE}`, "--tag=localhost/sessions", ".");
  const container = await buildah("from", "localhost/sessions");
  const root = await buildah("mount", container);
  const { Docker } = JSON.parse(await buildah("inspect", "--type=image", "localhost/sessions"));
  const config: ImageConfig = Docker.config;
  return { root, config, start: (command, env) => startIn(root, config, command, env) };
}

/** This machine's way to its packages, only while the image is built. */
async function npmSettings(): Promise<string[]> {
  const setting = async (name: string) => (await execute("npm", ["config", "get", name])).stdout.trim();
  const [user, everybodys, authorities] = await Promise.all(["userconfig", "globalconfig", "cafile"].map(setting));
  return [
    [user, "/root/.npmrc"],
    [everybodys, "/usr/etc/npmrc"],
    [authorities, authorities],
  ].flatMap(([from, to]) => (from && existsSync(from) ? [`--volume=${from}:${to}:ro`] : []));
}

/** Each ends with its parent: who changes its user is not killed with it any more, unless it asks for that anew. */
const WITH_PARENT = ["setpriv", "--pdeathsig=KILL"];

const IN_ROOT = `
root=$1; shift
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t proc proc "$root/proc"
mount --rbind /dev "$root/dev"
exec chroot "$root" "$@"
`;

function startIn(
  root: string,
  { User, WorkingDir, Env }: ImageConfig,
  command: readonly string[],
  env: Readonly<Record<string, string>> = {},
): ChildProcess {
  const [user, group] = User.split(":");
  const unprivileged = [
    `--reuid=${user}`,
    `--regid=${group}`,
    "--clear-groups",
    "--no-new-privs",
    "--bounding-set=-all",
  ];
  const settings = [...Env, ...Object.entries(env).map(([name, value]) => `${name}=${value}`)];
  const [program = "", ...args] = [
    ...[...WITH_PARENT, "unshare", "--mount", "--pid", "--fork", "sh", "-euc", IN_ROOT, "sh", root],
    ...[...WITH_PARENT, ...unprivileged, "env", "-i", "-C", WorkingDir, ...settings, ...command],
  ];
  return spawn(program, args, { stdio: ["ignore", "pipe", "pipe"] });
}

/** Signals what runs in there, which is the one child of what started it. */
export async function signal({ pid }: ChildProcess, name: NodeJS.Signals): Promise<void> {
  const children = await readFile(`/proc/${pid}/task/${pid}/children`, "utf8");
  process.kill(Number(children), name);
}
