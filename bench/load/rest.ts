import type { AddressInfo } from "node:net";
import fastify from "fastify";
import { MongoClient } from "mongodb";
import type { SessionRecord } from "../../src/domain/records.js";
import { serve } from "./serve.js";

/** What one would write by hand: a route of fastify that finds a document and answers it as JSON. */

const handlers = {
  async listen(uri: string, database: string): Promise<string> {
    // As the service has it.
    const client = new MongoClient(uri, {
      maxPoolSize: 20,
      readPreference: "primary",
      readConcern: { level: "majority" },
    });
    const sessions = (await client.connect()).db(database).collection<SessionRecord>("sessions");
    const app = fastify();
    app.post<{ Body: { sessionId: string } }>("/session", async ({ body: { sessionId } }) => {
      const found = await sessions.findOne({ _id: `default/${sessionId}` });
      return { session: found };
    });
    await app.listen({ host: "127.0.0.1", port: 0 });
    return `127.0.0.1:${(app.server.address() as AddressInfo).port}`;
  },
};

export type Rest = typeof handlers;

serve(handlers);
