import { symlink } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { LocalMongoError } from "../../src/local/errors.js";
import { tryLock, waitForLock } from "../../src/local/lock.js";
import { temporaryFolder } from "../support/temporary-folder.js";

/** A PATH with nothing but these programs, all of them in /usr/bin. */
async function pathWith(...programs: string[]): Promise<string> {
  const folder = await temporaryFolder();
  for (const program of programs) await symlink(`/usr/bin/${program}`, join(folder, program));
  return folder;
}

describe.each([
  ["flock", ["flock", "cat"]],
  ["perl", ["perl"]],
])("a lock held by %s", (_name, programs) => {
  it("is one holder's at a time", async () => {
    const env = { PATH: await pathWith(...programs) };
    const file = join(await temporaryFolder(), "lock");
    const held = await tryLock(file, env);
    expect(held).toBeDefined();
    expect(await tryLock(file, env)).toBeUndefined();
    await held?.release();

    const again = await tryLock(file, env);
    expect(again).toBeDefined();
    await again?.release();
  });

  it("is one holder's when many ask at once", async () => {
    const env = { PATH: await pathWith(...programs) };
    const file = join(await temporaryFolder(), "lock");
    const answers = await Promise.all(Array.from({ length: 8 }, () => tryLock(file, env)));
    const holders = answers.filter((lock) => lock !== undefined);
    expect(holders).toHaveLength(1);
    await holders[0]?.release();
  });

  it("is waited for, and that is told once", async () => {
    const env = { PATH: await pathWith(...programs) };
    const file = join(await temporaryFolder(), "lock");
    const first = await tryLock(file, env);
    let told = 0;
    const onWait = () => {
      told++;
      void first?.release();
    };
    const second = await waitForLock(file, { env, timeoutMs: 60_000, onWait });
    expect(told).toBe(1);
    await second.release();
  });
});

it("cannot be had in a folder that is not there", async () => {
  const file = join(await temporaryFolder(), "no", "such", "lock");
  await expect(tryLock(file, process.env)).rejects.toBeInstanceOf(LocalMongoError);
});
