import { spawn } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import type { Environment } from "./environment.js";
import { INSTEAD, LocalMongoError } from "./errors.js";

export interface Lock {
  release(): Promise<void>;
}

/**
 * Node cannot lock a file, and a file with a process id in it goes stale, which cannot be put right without a race. So
 * the kernel's own lock is taken, by a helper that holds it until its standard input ends: when we let go, or die in
 * whatever way. `flock` is on every Linux; macOS has none but has Perl.
 */
const HOLD_THE_LOCK = `
if command -v flock >/dev/null; then
  exec 9>>"$1" || exit 74
  flock -n 9 || exit 75
  echo held
  exec cat >/dev/null
fi
exec perl -MFcntl=:flock -e '
  open my $file, ">>", $ARGV[0] or exit 74;
  flock $file, LOCK_EX | LOCK_NB or exit 75;
  $| = 1; print "held\\n";
  1 while <STDIN>;
' "$1"
`;
const HELD_BY_ANOTHER = 75;

/** Takes the lock, or answers undefined when another holds it, in this process or any other of this machine. */
export async function tryLock(file: string, env: Environment): Promise<Lock | undefined> {
  const holder = spawn("/bin/sh", ["-c", HOLD_THE_LOCK, "lock", file], {
    env: { PATH: env.PATH || "/usr/bin:/bin" },
    stdio: ["pipe", "pipe", "ignore"],
    // Its own process group: Ctrl-C in a terminal must not take the lock from a process that is still shutting down.
    detached: true,
  });
  holder.stdin.on("error", () => {});
  const ended = new Promise<number | null>((resolve) => {
    holder.once("close", resolve);
    holder.once("error", () => resolve(null));
  });
  const held = await Promise.race([once(holder.stdout, "data").then(() => true), ended.then(() => false)]);
  if (!held) {
    if ((await ended) === HELD_BY_ANOTHER) return undefined;
    throw new LocalMongoError(`Cannot lock ${file}: it needs a writable folder, and flock or perl. ${INSTEAD}`);
  }
  return {
    async release() {
      holder.stdin.end();
      await ended;
    },
  };
}

export interface WaitForLockOptions {
  readonly env: Environment;
  readonly timeoutMs: number;
  readonly onWait: () => void;
}

export async function waitForLock(file: string, options: WaitForLockOptions): Promise<Lock> {
  const deadline = Date.now() + options.timeoutMs;
  for (let attempt = 0; ; attempt++) {
    const lock = await tryLock(file, options.env);
    if (lock !== undefined) return lock;
    if (Date.now() > deadline) throw new LocalMongoError(`Another process has held ${file} for too long. ${INSTEAD}`);
    if (attempt === 0) options.onWait();
    await sleep(250);
  }
}
