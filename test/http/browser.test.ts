import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type Browser, chromium } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { chromiumPath, FOREIGN_CLIENTS } from "../support/foreign-clients.js";
import { startHttpService } from "../support/http-service.js";

const found = FOREIGN_CLIENTS ? await chromiumPath() : { missing: "SESSIONS_TEST_FOREIGN_CLIENTS is not true" };
if ("missing" in found) console.log(`no browser: ${found.missing}`);

describe.skipIf("missing" in found)("a browser on a page of another origin", () => {
  let browser: Browser;
  beforeAll(async () => {
    if ("missing" in found) return;
    browser = await chromium.launch({ executablePath: found.path, args: ["--no-sandbox"] });
  });
  afterAll(() => browser?.close());

  /** A page with nothing on it, which is all that a browser needs for an origin. */
  async function blankPage(): Promise<string> {
    const server = createServer((_request, response) =>
      response.setHeader("content-type", "text/html").end("<!doctype html><title>blank</title>"),
    );
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    onTestFinished(() => void server.close());
    return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  }

  /** What a script on that page gets to see. */
  async function readOn(origin: string, url: string, sessionId: string): Promise<unknown> {
    const page = await browser.newPage();
    await page.goto(origin);
    const seen = await page.evaluate(
      async ([to, id]) => {
        try {
          const response = await fetch(`${to}/sessions.v1.SessionService/GetSession`, {
            method: "POST",
            headers: { "content-type": "application/json", "x-request-id": "page-1" },
            body: JSON.stringify({ sessionId: id }),
          });
          return { status: response.status, id: response.headers.get("x-request-id"), json: await response.json() };
        } catch (error) {
          return String(error);
        }
      },
      [url, sessionId] as const,
    );
    await page.close();
    return seen;
  }

  it("reads a session by fetch, and why there is none, when its origin is allowed", async () => {
    const origin = await blankPage();
    const service = await startHttpService({ corsOrigins: [origin] });
    await service.sessions.createSession({ sessionId: "Grüße", metadata: { topic: "tea" } });
    expect(await readOn(origin, service.url, "Grüße")).toMatchObject({
      status: 200,
      id: "page-1",
      json: { session: { sessionId: "Grüße", metadata: { topic: "tea" } } },
    });
    expect(await readOn(origin, service.url, "missing")).toMatchObject({ status: 404, json: { code: "not_found" } });
  });

  it("gets to see nothing when it is not", async () => {
    const origin = await blankPage();
    for (const corsOrigins of [[], ["http://127.0.0.1:1"]]) {
      const service = await startHttpService({ corsOrigins });
      await service.sessions.createSession({ sessionId: "a" });
      expect(await readOn(origin, service.url, "a")).toBe("TypeError: Failed to fetch");
    }
  });
});
