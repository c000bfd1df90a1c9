import { expect, test } from "vitest";
import { isObject, type JsonValue } from "../src/domain/json.js";
import { type Conversation, readConversations, SAMPLE } from "./support/conversations.js";

/** What the main job proves with the sample, and a demonstration shows, is no more than what the sample has in it. */
const conversations = readConversations(SAMPLE);
const messages = conversations.flatMap(({ messages = [] }) => messages);
const texts = messages.map(({ content = "" }) => content);

const users = new Set(conversations.flatMap(({ user_id }) => user_id ?? []));
const sessionsOf = (user: string) => conversations.filter(({ user_id }) => user_id === user);

test("the sample is some dozens of sessions: of users who have several, of nobody, and one without memory", () => {
  expect(conversations.length).toBeGreaterThanOrEqual(40);
  expect(messages.length).toBeGreaterThanOrEqual(300);
  expect(users.size).toBeGreaterThanOrEqual(10);
  for (const user of users) expect(sessionsOf(user).length, user).toBeGreaterThanOrEqual(2);
  expect(conversations.some(({ user_id }) => user_id === undefined)).toBe(true);
  expect(conversations.some(({ messages }) => messages === undefined)).toBe(true);
});

test("the sample is in fifteen languages", () => {
  const languages = conversations.map(({ metadata }) => metadata?.lang).filter((lang) => /^[a-z]{2}$/.test(`${lang}`));
  expect(new Set(languages).size).toBeGreaterThanOrEqual(15);
});

test.each(["Latin", "Greek", "Cyrillic", "Arabic", "Hebrew", "Devanagari", "Thai", "Hangul", "Hiragana", "Han"])(
  "people of the sample write in %s script, and the model answers in it",
  (script) => {
    const inScript = new RegExp(`\\p{Script=${script}}`, "u");
    const kinds = messages.filter(({ content = "" }) => inScript.test(content)).map(({ role_type }) => role_type);
    expect(kinds).toEqual(expect.arrayContaining(["ROLE_TYPE_USER", "ROLE_TYPE_ASSISTANT"]));
  },
);

test("the sample has short and long texts, emoji, code, and lines", () => {
  expect(texts.some((text) => text.length <= 3 && text !== "")).toBe(true);
  expect(texts.some((text) => text.length > 1500)).toBe(true);
  expect(texts.some((text) => /\p{Extended_Pictographic}\u200d/u.test(text))).toBe(true);
  expect(texts.some((text) => text.includes("```"))).toBe(true);
  expect(texts.some((text) => text.includes("\n\n"))).toBe(true);
});

test("the sample has tool calls with arguments, and tools and functions that answer in JSON", () => {
  const calls = messages.filter(({ payload_type }) => payload_type === "application/json");
  expect(calls.length).toBeGreaterThanOrEqual(10);
  for (const { payload = "" } of calls) {
    expect(JSON.parse(Buffer.from(payload, "base64").toString())).toMatchObject({
      tool_call: { id: expect.any(String), name: expect.any(String), arguments: expect.any(Object) },
    });
  }
  for (const kind of ["ROLE_TYPE_TOOL", "ROLE_TYPE_FUNCTION"]) {
    const results = messages.filter(({ role_type }) => role_type === kind);
    expect(results.length, kind).toBeGreaterThanOrEqual(5);
    for (const { content = "" } of results) expect(JSON.parse(content)).toBeInstanceOf(Object);
  }
});

test("the sample says of each field both something and nothing", () => {
  const fields = [
    "message_id",
    "role",
    "role_type",
    "payload",
    "payload_type",
    "metadata",
    "token_count",
    "create_time",
  ] as const;
  for (const field of fields) {
    const said = messages.filter((message) => message[field] !== undefined).length;
    expect(said, field).toBeGreaterThan(0);
    expect(said, field).toBeLessThan(messages.length);
  }
  expect(conversations.some(({ metadata }) => metadata === undefined)).toBe(true);
});

test("the sample's metadata is nested, and has arrays, numbers, booleans, null and odd keys", () => {
  const values: JsonValue[] = [];
  const collect = (value: JsonValue): void => {
    values.push(value);
    if (typeof value === "object" && value !== null) Object.values(value).forEach(collect);
  };
  for (const { metadata = {} } of conversations) Object.values(metadata).forEach(collect);
  expect(values.some((value) => isObject(value) && Object.values(value).some(isObject))).toBe(true);
  expect(values.some((value) => Array.isArray(value) && value.some(isObject))).toBe(true);
  expect(values.some(Number.isInteger)).toBe(true);
  expect(values.some((value) => typeof value === "number" && !Number.isInteger(value))).toBe(true);
  for (const value of [true, false, null]) expect(values).toContain(value);
  const keys = conversations.flatMap(({ metadata = {} }) => Object.keys(metadata));
  expect(keys).toEqual(expect.arrayContaining(["", "crm.id", "$note"]));
});

test("the sample goes over months, and no session's messages go back in time", () => {
  const times = (of: Conversation) =>
    (of.messages ?? []).flatMap(({ create_time }) => create_time ?? []).map(Date.parse);
  const all = conversations.flatMap(times);
  expect(Math.max(...all) - Math.min(...all)).toBeGreaterThan(300 * 24 * 3_600_000);
  for (const conversation of conversations) {
    expect(times(conversation), conversation.session_id).toEqual(times(conversation).sort((a, b) => a - b));
  }
});

test.each([
  ["ann", "CM-58213"],
  ["ann", "14 June"],
  ["jonas", "BK-20931-7"],
  ["camille", "01 99 00 42 17"],
  ["diego", "murciélago-verde-71"],
  ["haruto", "MJ-0882"],
  ["vera", "Павла Игнатьевича"],
  ["ελένη", "FX-20877"],
])("what %s once said or was told, %s, is asked for in another session", (user, fact) => {
  const holding = sessionsOf(user).filter(({ messages = [] }) =>
    messages.some(({ content }) => content?.includes(fact)),
  );
  expect(holding.length).toBeGreaterThanOrEqual(2);
});
