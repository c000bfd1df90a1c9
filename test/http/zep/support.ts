import { type Agent, request as httpRequest } from "node:http";
import { startService, type TestService, type TestServiceOptions } from "../../support/service.js";

/** A service with its HTTP side, as a client of the legacy API finds it. */
export interface ZepService extends TestService {
  /** What the SDKs take as their base URL. */
  readonly url: string;
  readonly call: ZepCall;
}

export interface Reply {
  readonly status: number;
  readonly type: string | null;
  readonly text: string;
  /** What is in the text, where that is JSON. */
  // biome-ignore lint/suspicious/noExplicitAny: what is expected of it is what the tests say
  readonly json: any;
  readonly headers: Headers;
}

/** Calls below `/api/v1`. A body that is no text is sent as JSON. */
export type ZepCall = (
  method: string,
  path: string,
  body?: unknown,
  headers?: Readonly<Record<string, string>>,
) => Promise<Reply>;

export async function startZep(options: TestServiceOptions = {}): Promise<ZepService> {
  const service = await startService({ httpListen: { host: "127.0.0.1", port: 0 }, ...options });
  const url = `http://${service.server.httpAddress}`;
  return { ...service, url, call: callerOf(url) };
}

/** `credential` is a key or a token that every call shows. */
export function callerOf(url: string, credential?: string): ZepCall {
  const shown: Record<string, string> = credential === undefined ? {} : { authorization: `Bearer ${credential}` };
  return async (method, path, body, headers = {}) => {
    const response = await fetch(`${url}/api/v1${path}`, {
      method,
      headers: { ...shown, ...headers },
      ...(body !== undefined && { body: typeof body === "string" ? body : JSON.stringify(body) }),
    });
    const text = await response.text();
    return {
      status: response.status,
      type: response.headers.get("content-type"),
      text,
      json: /^[[{]/.test(text) ? JSON.parse(text) : undefined,
      headers: response.headers,
    };
  };
}

interface RawOptions {
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Whose connections it takes; without, one of its own. */
  readonly agent?: Agent | false;
}

/** The answer to a request whose path is sent to the letter: `fetch` would mend it. */
export function rawCall(
  url: string,
  method: string,
  path: string,
  { body = "", headers = {}, agent = false }: RawOptions = {},
): Promise<{ status: number; text: string }> {
  const { hostname, port } = new URL(url);
  return new Promise((resolve, reject) => {
    const length = body === "" ? {} : { "content-length": Buffer.byteLength(body) };
    const options = { hostname, port, method, path, headers: { ...length, ...headers }, agent };
    const request = httpRequest(options, (response) => {
      let text = "";
      response.setEncoding("utf8");
      response.on("data", (chunk) => {
        text += chunk;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text }));
    });
    request.on("error", reject);
    request.end(body);
  });
}
