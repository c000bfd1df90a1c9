import { onTestFinished } from "vitest";
import { startService, type TestService, type TestServiceOptions } from "./service.js";

export interface HttpService extends TestService {
  /** `http://127.0.0.1:1234` */
  readonly url: string;
}

/** A service that listens for HTTP, too. It does not outlive the test. */
export async function startHttpService(options: TestServiceOptions = {}): Promise<HttpService> {
  const service = await startService({ httpListen: { host: "127.0.0.1", port: 0 }, ...options });
  onTestFinished(() => service.stop());
  return { ...service, url: `http://${service.server.httpAddress}` };
}
