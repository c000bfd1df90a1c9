import { randomUUID } from "node:crypto";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { newId } from "../../support/contract.js";
import { startZep, type ZepService } from "./support.js";

/** Where the legacy server loses what clients send at once. */
let zep: ZepService;
beforeAll(async () => {
  zep = await startZep();
});
afterAll(() => zep.stop());

const add = (id: string, content: string) => zep.call("POST", `/sessions/${id}/memory`, { messages: [{ content }] });
const contents = async (id: string): Promise<string[]> =>
  (await zep.call("GET", `/sessions/${id}/memory?lastn=1000`)).json.messages.map(
    ({ content }: { content: string }) => content,
  );

describe("at once", () => {
  it("two first writes to one id are both kept", async () => {
    await Promise.all(
      Array.from({ length: 40 }, async () => {
        const id = newId();
        const answers = await Promise.all([add(id, "one"), add(id, "other")]);
        expect(answers.map(({ status, text }) => [status, text])).toEqual([
          [200, "OK"],
          [200, "OK"],
        ]);
        expect((await contents(id)).toSorted()).toEqual(["one", "other"]);
      }),
    );
  });

  it("two creations of one id are one, and one refusal", async () => {
    const id = newId();
    const create = () => zep.call("POST", "/sessions", { session_id: id });
    expect((await Promise.all([create(), create()])).map(({ status }) => status).toSorted()).toEqual([201, 400]);
  });

  it("disjoint merges of metadata all survive, of sessions, messages and users", async () => {
    const id = newId();
    const uuid = randomUUID();
    await zep.call("POST", `/sessions/${id}/memory`, { messages: [{ uuid, content: "x" }] });
    await zep.call("POST", "/user", { user_id: id });
    const keys = Array.from({ length: 20 }, (_, index) => `key${index}`);
    for (const path of [`/sessions/${id}`, `/sessions/${id}/messages/${uuid}`, `/user/${id}`]) {
      await Promise.all(keys.map((key) => zep.call("PATCH", path, { metadata: { at: { [key]: 1 } } })));
      const { json } = await zep.call("GET", path);
      expect([path, json.metadata]).toEqual([path, { at: Object.fromEntries(keys.map((key) => [key, 1])) }]);
    }
  });

  it("a first write repeated adds once", async () => {
    const id = newId();
    const body = { messages: [{ uuid: randomUUID(), content: "once" }, { content: "with it" }] };
    const answers = await Promise.all(
      Array.from({ length: 8 }, () => zep.call("POST", `/sessions/${id}/memory`, body)),
    );
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
    expect(await contents(id)).toEqual(["once", "with it"]);
  });

  it("deletes and updates of one session leave it deleted, or as a whole updated", async () => {
    const id = newId();
    await zep.call("POST", "/sessions", { session_id: id, metadata: { kept: 1 } });
    await Promise.all(
      Array.from({ length: 10 }, (_, index) =>
        index % 2 === 0
          ? zep.call("DELETE", `/sessions/${id}/memory`)
          : zep.call("PATCH", `/sessions/${id}`, { metadata: { [`key${index}`]: 1 } }),
      ),
    );
    await zep.call("PATCH", `/sessions/${id}`, {});
    const { json } = await zep.call("GET", `/sessions/${id}`);
    expect(Object.keys(json.metadata).toSorted()).toEqual(["kept", "key1", "key3", "key5", "key7", "key9"]);
  });
});
