import type { Database } from "../../src/store/database.js";

/** Holds the session's document, so that whatever changes the session has to wait. The answer lets it go. */
export async function hold(database: Database, sessionId: string): Promise<() => Promise<void>> {
  const session = database.client.startSession();
  session.startTransaction();
  await database.sessions.updateOne({ _id: `default/${sessionId}` }, { $set: { version: 99 } }, { session });
  return async () => {
    await session.abortTransaction();
    await session.endSession();
  };
}
