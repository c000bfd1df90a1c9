import { describe, expect, it } from "vitest";
import type { Change } from "../../../src/domain/watching/changes.js";
import { eventsOf } from "../../../src/domain/watching/events.js";

const updated = (set: string[], more: { unset?: string[]; deleted?: boolean } = {}): Change => ({
  kind: "session updated",
  session: "p/s",
  set: new Set(set),
  unset: new Set(more.unset ?? []),
  deleted: more.deleted,
});
const inserted = (deleted = false): Change => ({ kind: "session inserted", session: "p/s", deleted });
const added = (messageId: string, sequence: number, session = "p/s"): Change => ({
  kind: "message added",
  session,
  epoch: "e",
  messageId,
  sequence,
  bytes: 10,
});
const changed = (kind: "message updated" | "message deleted", messageId: string, epoch = "e"): Change => ({
  kind,
  epoch,
  messageId,
  bytes: 10,
});

/** What one transaction is told as. */
const told = (...changes: Change[]): string[] =>
  eventsOf(changes, (epoch) => (epoch === "e" ? "p/s" : undefined)).map(({ kind, messages }) =>
    [kind, ...messages.map(({ messageId }) => messageId)].join(" "),
  );

describe("what one transaction means", () => {
  it.each<[string, string[], Change[]]>([
    ["a new session", ["created"], [inserted()]],
    ["one that is deleted in the same transaction", ["created", "deleted"], [inserted(true)]],
    ["metadata, user or expiry", ["updated"], [updated(["metadata", "updateTime", "version"])]],
    ["a deletion", ["deleted"], [updated(["deleted", "deleteTime", "version", "retired"], { deleted: true })]],
    [
      "an undeletion",
      ["undeleted"],
      [updated(["deleted", "version", "epoch"], { unset: ["deleteTime"], deleted: false })],
    ],
    ["a memory that is cleared", ["memory cleared"], [updated(["epoch", "messageCount", "retired"])]],
    ["a summary", ["summary set"], [updated(["summary"])]],
    ["a purge of a live session", ["purged"], [updated(["purging", "deleted", "deleteTime"], { deleted: true })]],
    ["a purge of a deleted one", ["purged"], [updated(["purging", "retired"], { unset: ["expireAt"] })]],
    ["the end of a document", ["purged"], [{ kind: "session removed", session: "p/s" }]],
    [
      "a session on what is left of a purged one",
      ["created"],
      [updated(["uid", "epoch"], { unset: ["purging"], deleted: false })],
    ],
    ["a session purged and made anew together", ["purged", "created"], [updated(["uid", "epoch", "version"])]],
    ["messages", ["messages added a b"], [updated(["messageCount", "lastSequence"]), added("b", 2), added("a", 1)]],
    ["a new session with messages", ["created", "messages added a"], [inserted(), added("a", 1)]],
    [
      "all of it together",
      ["updated", "memory cleared", "messages added a", "messages updated x", "messages deleted y", "summary set"],
      [
        updated(["version", "epoch", "summary"]),
        added("a", 1),
        changed("message updated", "x"),
        changed("message deleted", "y"),
      ],
    ],
    [
      "messages and then the end",
      ["messages added a", "deleted"],
      [updated(["version"], { deleted: true }), added("a", 1)],
    ],
  ])("%s", (_, expected, changes) => expect(told(...changes)).toEqual(expected));

  it.each<[string, Change[]]>([
    [
      "housekeeping of a session",
      [updated(["retired", "expireAt", "unembedded", "userEpoch"], { unset: ["retired"] })],
    ],
    ["messages without their session, such as copies for a fork that is not there yet", [added("a", 1)]],
    ["messages of an epoch that is nobody's", [updated(["memoryVersion"]), changed("message updated", "x", "old")]],
  ])("nothing: %s", (_, changes) => expect(told(...changes)).toEqual([]));

  it("each session has its own", () => {
    const other: Change = { kind: "session inserted", session: "p/other", deleted: false };
    const events = eventsOf([other, inserted(), added("a", 1), added("b", 1, "p/other")], () => undefined);
    expect(events.map(({ session, kind, messages }) => [session, kind, messages.map((m) => m.messageId)])).toEqual([
      ["p/other", "created", []],
      ["p/other", "messages added", ["b"]],
      ["p/s", "created", []],
      ["p/s", "messages added", ["a"]],
    ]);
  });

  it("says whether a session has moved to another user, and whether it is the last of one that was told as deleted", () => {
    const one = (change: Change) => eventsOf([change], () => undefined)[0];
    expect(one(updated(["version", "user"]))?.moves).toBe(true);
    expect(one(updated(["version"], { unset: ["user"] }))?.moves).toBe(true);
    expect(one(updated(["version"]))?.moves).toBe(false);
    expect(one(updated(["purging"]))?.isLast).toBe(true);
    expect(one(updated(["purging", "deleted"], { deleted: true }))?.isLast).toBe(false);
    expect(one({ kind: "session removed", session: "p/s" })?.isLast).toBe(true);
  });
});
