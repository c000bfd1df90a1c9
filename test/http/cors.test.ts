import { describe, expect, it } from "vitest";
import { startHttpService } from "../support/http-service.js";

const GET = "/sessions.v1.SessionService/GetSession";
const PAGE = "https://app.example.com";

/** What a browser asks before it sends what the page wants to have sent. */
const preflight = (url: string, origin: string) =>
  fetch(`${url}${GET}`, {
    method: "OPTIONS",
    headers: {
      origin,
      "access-control-request-method": "POST",
      "access-control-request-headers": "authorization,connect-protocol-version,content-type,x-request-id",
    },
  });

const read = (url: string, origin: string, sessionId: string) =>
  fetch(`${url}${GET}`, {
    method: "POST",
    headers: { origin, "content-type": "application/json" },
    body: JSON.stringify({ sessionId }),
  });

describe("web pages of other origins", () => {
  it("may call when they are named, and see errors and what they need of the headers", async () => {
    const { url, sessions } = await startHttpService({ corsOrigins: ["http://localhost:3000", PAGE] });
    await sessions.createSession({ sessionId: "there" });
    const allowed = await preflight(url, PAGE);
    expect(allowed.ok).toBe(true);
    expect(allowed.headers.get("access-control-allow-origin")).toBe(PAGE);
    const headers = allowed.headers.get("access-control-allow-headers")?.toLowerCase().split(", ");
    for (const name of [
      "authorization",
      "x-request-id",
      "content-type",
      "connect-protocol-version",
      "connect-timeout-ms",
      "grpc-timeout",
      "x-grpc-web",
      "x-user-agent",
    ]) {
      expect(headers).toContain(name);
    }
    for (const sessionId of ["there", "missing", ""]) {
      const answer = await read(url, PAGE, sessionId);
      expect(answer.headers.get("access-control-allow-origin")).toBe(PAGE);
      const exposed = answer.headers.get("access-control-expose-headers")?.toLowerCase().split(", ");
      for (const name of ["grpc-status", "grpc-message", "grpc-status-details-bin", "x-request-id"]) {
        expect(exposed).toContain(name);
      }
    }
    const unknown = await fetch(`${url}/sessions.v1.SessionService/Nothing`, {
      method: "POST",
      headers: { origin: PAGE },
    });
    expect([unknown.status, unknown.headers.get("access-control-allow-origin")]).toEqual([404, PAGE]);
  });

  it("see who they are when their key is refused", async () => {
    const auth = { keys: { adminKey: "x".repeat(32) }, tokens: undefined };
    const { url } = await startHttpService({ corsOrigins: [PAGE], auth });
    const refused = await read(url, PAGE, "a");
    expect([refused.status, refused.headers.get("access-control-allow-origin")]).toEqual([401, PAGE]);
    // A browser shows no credential when it asks whether it may.
    expect((await preflight(url, PAGE)).ok).toBe(true);
  });

  it("may not call when they are others, or none are named", async () => {
    for (const corsOrigins of [[PAGE], []]) {
      const { url } = await startHttpService({ corsOrigins });
      for (const origin of ["https://app.example.com.evil.net", "http://app.example.com", "null"]) {
        expect((await preflight(url, origin)).headers.get("access-control-allow-origin")).toBeNull();
        expect((await read(url, origin, "a")).headers.get("access-control-allow-origin")).toBeNull();
      }
    }
  });

  it("may all call when it is said so", async () => {
    const { url } = await startHttpService({ corsOrigins: "*" });
    expect((await read(url, "https://anything.example", "a")).headers.get("access-control-allow-origin")).toBe("*");
    expect((await preflight(url, "null")).headers.get("access-control-allow-origin")).toBe("*");
  });
});
