import { type CreateUserRequest, type SessionsClient, SessionsClientError } from "../../client/index.js";

/** Creates the users that the file names, each once and as the first line that names them says. Who is there already stays as they are. */
export function createUsers(client: SessionsClient, signal: AbortSignal): (user: CreateUserRequest) => Promise<void> {
  const ensured = new Map<string, Promise<void>>();
  return (user) => {
    const known = ensured.get(user.userId);
    if (known) return known;
    const attempt = ensureUser(client, user, signal);
    ensured.set(user.userId, attempt);
    // The next line that names the user tries again.
    attempt.catch(() => ensured.delete(user.userId));
    return attempt;
  };
}

async function ensureUser(client: SessionsClient, user: CreateUserRequest, signal: AbortSignal): Promise<void> {
  const { userId } = user;
  try {
    await client.createUser(user, { signal });
  } catch (error) {
    if (hasReason(error, "USER_ALREADY_EXISTS")) return;
    if (!(error instanceof SessionsClientError) || error.code !== "UNAVAILABLE") throw error;
    // Whether the user was created nobody knows. Reading is tried again until the service is back.
    try {
      await client.getUser({ userId }, { signal });
    } catch (absence) {
      if (!hasReason(absence, "USER_NOT_FOUND")) throw absence;
      await client.createUser(user, { signal });
    }
  }
}

const hasReason = (error: unknown, reason: string): boolean =>
  error instanceof SessionsClientError && error.reason === reason;
