import { expect, it, onTestFinished } from "vitest";
import { startKeyed } from "../auth/support.js";

const MIB = 1024 * 1024;

it("tells who sends a large body that is not wanted why, whoever they are", async () => {
  const keyed = await startKeyed({ httpListen: { host: "127.0.0.1", port: 0 } });
  onTestFinished(() => keyed.stop());
  const { secret } = await keyed.caller({ role: 2, project: "p" });
  const url = `http://${keyed.service.server.httpAddress}`;
  /** By a client of its own kind, which takes a connection that is reset while it sends for the end of everything. */
  const statusOf = async (path: string, mib: number, headers: Record<string, string>): Promise<number | string> => {
    const body = "x".repeat(mib * MIB);
    const sent = { "content-type": "application/json", ...headers };
    const answer = await fetch(url + path, { method: "POST", body, headers: sent }).catch((error: Error) => error);
    if (answer instanceof Error) return String(answer.cause);
    await answer.text();
    return answer.status;
  };
  const getSession = "/sessions.v1.SessionService/GetSession";
  const known = { authorization: `Bearer ${secret}` };
  for (let round = 0; round < 10; round++) {
    expect({
      "a call without a key": await statusOf(getSession, 7, {}),
      "a legacy call without a key": await statusOf("/api/v1/sessions", 7, {}),
      "a call that is too large": await statusOf(getSession, 9, known),
      "a legacy call that is too large": await statusOf("/api/v1/sessions", 6, known),
      nothing: await statusOf("/nothing", 7, {}),
    }).toEqual({
      "a call without a key": 401,
      "a legacy call without a key": 401,
      "a call that is too large": 400,
      "a legacy call that is too large": 413,
      nothing: 404,
    });
  }
});
