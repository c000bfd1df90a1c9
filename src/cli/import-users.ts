import { type SessionsClient, SessionsClientError } from "../client/index.js";

/** Creates the users that the file names, each once. Who is there already is fine. */
export function createUsers(client: SessionsClient, signal: AbortSignal): (userId: string) => Promise<void> {
  const ensured = new Map<string, Promise<void>>();
  return (userId) => {
    const known = ensured.get(userId);
    if (known) return known;
    const attempt = ensureUser(client, userId, signal);
    ensured.set(userId, attempt);
    // The next line that names the user tries again.
    attempt.catch(() => ensured.delete(userId));
    return attempt;
  };
}

async function ensureUser(client: SessionsClient, userId: string, signal: AbortSignal): Promise<void> {
  try {
    await client.createUser({ userId }, { signal });
  } catch (error) {
    if (hasReason(error, "USER_ALREADY_EXISTS")) return;
    if (!(error instanceof SessionsClientError) || error.code !== "UNAVAILABLE") throw error;
    // Whether the user was created nobody knows. Reading is tried again until the service is back.
    try {
      await client.getUser({ userId }, { signal });
    } catch (absence) {
      if (!hasReason(absence, "USER_NOT_FOUND")) throw absence;
      await client.createUser({ userId }, { signal });
    }
  }
}

const hasReason = (error: unknown, reason: string): boolean =>
  error instanceof SessionsClientError && error.reason === reason;
