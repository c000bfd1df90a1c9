import { randomUUID } from "node:crypto";
import { hashOf, newSecret } from "../../src/auth/keys.js";
import { keyOf } from "../../src/domain/keys.js";
import type { Database } from "../../src/store/database.js";

/** A writer's key, put into the collection past the service. */
export async function insertKey(database: Database, project: string): Promise<string> {
  const secret = newSecret();
  await database.keys.insertOne({
    _id: keyOf(project, randomUUID()),
    project,
    name: "bench",
    role: "writer",
    hash: hashOf(secret),
    createTime: new Date(),
  });
  return secret;
}
