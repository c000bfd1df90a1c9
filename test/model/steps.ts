import fc from "fast-check";
import type { Content, Json, JsonObject, Mode, NewExpiry, NewMessage, Said } from "./rules.js";

/** One call, as data: a failing sequence prints as the list of its calls. Ids are short here and get a prefix in each run. */
export type Step =
  | { do: "createSession"; session: string; user?: string; metadata: JsonObject; expiry?: NewExpiry }
  | {
      do: "updateSession";
      session: string;
      metadata?: JsonObject;
      mode: Mode;
      user?: string;
      etag?: Etag;
      expiry?: NewExpiry | "none";
    }
  | { do: "deleteSession"; session: string; allowMissing: boolean; etag?: Etag }
  | { do: "undeleteSession"; session: string; restoreMemory: boolean }
  | { do: "forkSession"; session: string; into: string; message?: string; user?: string; metadata: JsonObject }
  | { do: "purgeSession"; session: string }
  | AddMemory
  /** Sends an AddMemory that was sent before again, as it was: the last one, the one before it, … */
  | { do: "addAgain"; session: string; back: number }
  /** Sends the messages of such a one, and then more of them. */
  | { do: "addMore"; session: string; back: number; messages: readonly NewMessage[]; expected?: "last" | "other" }
  | UpdateMessage
  | { do: "deleteMessage"; session: string; message: string }
  /** After a message, or after the sequence of the one that comes so many places before the last. */
  | { do: "rewindMemory"; session: string; message?: string; back: number; expected?: "last" | "other" }
  | { do: "clearMemory"; session: string }
  | { do: "setSummary"; session: string; message: string; content: string }
  | { do: "createUser"; user: string; email: string; metadata: JsonObject }
  | { do: "updateUser"; user: string; email?: string; metadata?: JsonObject; mode: Mode; etag?: Etag }
  | { do: "deleteUser"; user: string }
  | { do: "undeleteUser"; user: string; restoreSessions: boolean }
  | { do: "purgeUser"; user: string }
  | { do: "purgeDeleted"; dryRun: boolean }
  /** A pass of the purger, now or after the retention has passed. */
  | { do: "purgerPass"; afterRetention: boolean };

export interface UpdateMessage extends Said {
  do: "updateMessage";
  session: string;
  message: string;
  metadata?: JsonObject;
  mode: Mode;
  tokenCount?: number;
  etag?: Etag;
}

export interface AddMemory {
  do: "addMemory";
  session: string;
  messages: readonly NewMessage[];
  user?: string;
  metadata: JsonObject;
  merge?: JsonObject;
  mode: Mode;
  expected?: "last" | "other";
  expiry?: NewExpiry;
}

/** The current etag, or one that the resource had before or never had. */
export type Etag = "current" | "other";

export const SESSIONS = ["s1", "s2", "s3"] as const;
export const USERS = ["u1", "u2"] as const;

export const CONTENTS: Readonly<Record<string, Content>> = {
  hello: { content: "hello", metadata: {}, tokenCount: 0 },
  // By the same one, so that nothing tells the two apart but what they say.
  "hello there": { by: "hello", content: "hello there", metadata: {}, tokenCount: 0 },
  rich: {
    content: "höre 🎧",
    metadata: { tool: { name: "x", args: [1, null] } },
    tokenCount: 7,
    createTime: Date.UTC(2001, 1, 3),
  },
};

// Most calls are about one session and one user, so that much happens to them.
const session = fc.constantFrom("s1", "s1", "s1", "s1", "s2", "s3");
const user = fc.constantFrom("u1", "u1", "u1", "u2");
const message = fc.constantFrom("m1", "m2", "m3");
const mode = fc.constantFrom<Mode>("merge", "patch", "replace");
const etag = fc.constantFrom<Etag>("current", "other");
/** So far away that nothing expires while the sequence runs. */
const expiry = fc.constantFrom<NewExpiry>(
  { at: Date.UTC(2100, 1, 3, 4, 5, 6, 7) },
  { idleMs: 86_400_001 },
  { idleMs: 3_600_000 },
);
const sometimes = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 });
const seldom = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 1 });

const { metadata } = fc.letrec<{ metadata: JsonObject; value: Json }>((tie) => ({
  metadata: fc
    .uniqueArray(fc.tuple(fc.constantFrom("a", "b", "$set.x", "__proto__"), tie("value")), {
      selector: ([key]) => key,
      maxLength: 3,
    })
    .map((entries) => Object.fromEntries(entries)),
  value: fc.oneof(
    { maxDepth: 2, withCrossShrink: true },
    fc.constantFrom<Json>(1, null, "x", true, -0.5),
    fc.array(tie("value"), { maxLength: 2 }),
    tie("metadata"),
  ),
}));

/** Metadata to look sessions up by. */
export const FILTERS: readonly JsonObject[] = [{ a: 1 }, { a: {} }, { b: { a: 1 } }, { a: [1] }];

const newMessage = fc.record({
  id: sometimes(fc.constantFrom("m1", "m2", "m3", "m4", "m5")),
  says: fc.constantFrom(...Object.keys(CONTENTS)),
  group: sometimes(fc.constantFrom("g1", "g2")),
});

const messages = fc.uniqueArray(newMessage, { maxLength: 4, selector: ({ id }) => id ?? Symbol() });

const addMemory = step("addMemory", {
  session,
  messages,
  user: sometimes(user),
  metadata,
  merge: sometimes(metadata),
  mode,
  expiry: sometimes(expiry),
  expected: seldom(fc.constantFrom("last", "other")),
});

const addMore = (of: fc.Arbitrary<string>, back: fc.Arbitrary<number>) =>
  step("addMore", { session: of, back, messages, expected: seldom(fc.constantFrom("last", "other")) });

const weighted: [weight: number, step: fc.Arbitrary<Step>][] = [
  [4, step("createSession", { session, user: sometimes(user), metadata, expiry: sometimes(expiry) })],
  [4, step("updateSession", { session, metadata: sometimes(metadata), mode, etag: seldom(etag) })],
  [4, step("updateSession", { session, mode, user: fc.constantFrom(...USERS, "") })],
  [4, step("updateSession", { session, mode, expiry: fc.oneof(expiry, fc.constant("none")) })],
  [7, step("deleteSession", { session, allowMissing: fc.boolean(), etag: seldom(etag) })],
  [8, step("undeleteSession", { session, restoreMemory: fc.boolean() })],
  [
    5,
    step("forkSession", {
      session,
      into: fc.constantFrom("s2", "s3", "s3", "s1"),
      message: sometimes(message),
      user: sometimes(fc.constantFrom(...USERS, "")),
      metadata,
    }),
  ],
  [2, step("purgeSession", { session })],
  [14, addMemory],
  [5, step("addAgain", { session, back: fc.nat(2) })],
  [5, addMore(session, fc.nat(2))],
  [
    6,
    step("updateMessage", {
      session,
      message,
      metadata: sometimes(metadata),
      mode,
      tokenCount: sometimes(fc.nat(9)),
      content: sometimes(fc.constantFrom("hello again", "hello", "höre nicht")),
      payload: seldom(fc.constantFrom("", "AQI=")),
      payloadType: seldom(fc.constantFrom("", "text/plain")),
      etag: seldom(etag),
    }),
  ],
  [4, step("deleteMessage", { session, message })],
  [
    4,
    step("rewindMemory", {
      session,
      message: sometimes(message),
      back: fc.nat(4),
      expected: seldom(fc.constantFrom("last", "other")),
    }),
  ],
  [2, step("clearMemory", { session })],
  [4, step("setSummary", { session, message, content: fc.constantFrom("short", "") })],
  [5, step("createUser", { user, email: fc.constantFrom("", "a@b"), metadata })],
  [
    3,
    step("updateUser", {
      user,
      email: sometimes(fc.constantFrom("", "c@d")),
      metadata: sometimes(metadata),
      mode,
      etag: seldom(etag),
    }),
  ],
  [5, step("deleteUser", { user })],
  [6, step("undeleteUser", { user, restoreSessions: fc.boolean() })],
  [1, step("purgeUser", { user })],
  [2, step("purgeDeleted", { dryRun: fc.boolean() })],
  [2, step("purgerPass", { afterRetention: fc.boolean() })],
];

/** Most sequences begin with something there already, for what needs much to be there first. */
const FIRST: readonly Step[] = [
  { do: "createUser", user: "u1", email: "", metadata: {} },
  {
    do: "addMemory",
    session: "s1",
    messages: [
      { id: "m1", says: "hello" },
      { id: "m2", says: "rich" },
    ],
    user: "u1",
    metadata: { a: 1 },
    mode: "merge",
  },
];

const anyStep = fc.oneof(...weighted.map(([weight, arbitrary]) => ({ weight, arbitrary })));

/** Calls that belong together, with others between them: left to chance they would seldom come in this order. */
function story(begin: fc.Arbitrary<Step>, end: (begin: Step) => fc.Arbitrary<Step>): fc.Arbitrary<Step[]> {
  return begin.chain((first) =>
    fc.tuple(fc.array(anyStep, { maxLength: 2 }), end(first)).map(([between, last]) => [first, ...between, last]),
  );
}

const stories = [
  story(step("deleteSession", { session, allowMissing: fc.boolean() }), (begin) =>
    step("undeleteSession", { session: fc.constant("session" in begin && begin.session), restoreMemory: fc.boolean() }),
  ),
  story(step("deleteUser", { user }), (begin) =>
    step("undeleteUser", { user: fc.constant("user" in begin && begin.user), restoreSessions: fc.boolean() }),
  ),
  story(addMemory, (begin) => addMore(fc.constant("session" in begin ? begin.session : "s1"), fc.constant(0))),
  story(addMemory, (begin) =>
    step("addAgain", { session: fc.constant("session" in begin && begin.session), back: fc.constant(0) }),
  ),
];

export const anySteps = fc
  .tuple(
    fc.constantFrom<readonly Step[]>(FIRST, FIRST, []),
    fc.array(fc.oneof({ weight: 3, arbitrary: anyStep.map((one) => [one]) }, ...stories), {
      minLength: 1,
      maxLength: 16,
      size: "max",
    }),
  )
  .map(([first, rest]) => [...first, ...rest.flat()]);

function step(name: Step["do"], fields: Record<string, fc.Arbitrary<unknown>>): fc.Arbitrary<Step> {
  return fc
    .record(fields)
    .map(
      (values) =>
        Object.fromEntries([
          ["do", name],
          ...Object.entries(values).filter(([, value]) => value !== undefined),
        ]) as Step,
    );
}

/** A sequence as a reader wants to see it, a call a line. */
export function print(steps: readonly Step[]): string {
  return steps
    .map(({ do: name, ...fields }, index) => {
      const text = Object.entries(fields).map(([key, value]) => `${key}: ${JSON.stringify(value)}`);
      return `  ${index + 1}. ${name}(${text.join(", ")})`;
    })
    .join("\n");
}
