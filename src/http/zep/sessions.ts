import { MetadataMode, type Session } from "../../../gen/sessions/v1/resources.js";
import {
  GetSessionResponse,
  ListSessionsRequest,
  ListSessionsResponse,
} from "../../../gen/sessions/v1/session_service.js";
import type { Call } from "../../domain/call.js";
import type { SessionService } from "../../services/session/session.js";
import { fieldsOf, readBody } from "./body.js";
import { jsonArray, type Listing, type Place, pageOf } from "./listing.js";
import { withoutSystem } from "./metadata.js";
import { createTimeIn, sessionNumber, toZepSession } from "./objects.js";
import type { Positions } from "./positions.js";
import { decoded, type Incoming, json, type Route } from "./route.js";

export function sessionRoutes(sessions: SessionService, positions: Positions<Place>): Route[] {
  return [
    {
      method: "POST",
      url: "/sessions",
      path: "/zep.v1/AddSession",
      status: 201,
      async run({ body }, call) {
        const fields = fieldsOf(readBody(body));
        const sessionId = fields.text("session_id") ?? "";
        const userId = fields.text("user_id");
        const metadata = fields.object("metadata");
        fields.done();
        const { session } = await sessions.createSession({ sessionId, userId, metadata, expiry: undefined }, call);
        return json(toZepSession(session as Session));
      },
    },
    {
      method: "GET",
      url: "/sessions",
      path: "/zep.v1/ListSessions",
      list: (incoming, call) => listSessions(sessions, positions, undefined, incoming, call),
    },
    {
      method: "GET",
      url: "/sessions/:id",
      path: "/zep.v1/GetSession",
      async run({ ids }, call) {
        const answer = await sessions.getSession({ sessionId: ids.id, showDeleted: false }, call);
        return json(toZepSession(decoded(GetSessionResponse, answer).session as Session));
      },
    },
    {
      method: "PATCH",
      url: "/sessions/:id",
      path: "/zep.v1/UpdateSession",
      async run({ ids, body }, call) {
        const fields = fieldsOf(readBody(body));
        const metadata = withoutSystem(fields.object("metadata"));
        fields.done();
        const update = {
          sessionId: ids.id,
          metadata,
          metadataMode: MetadataMode.METADATA_MODE_MERGE,
          userId: undefined,
          etag: "",
          expiry: undefined,
          clearExpiry: false,
        };
        const { session } = await sessions.updateSession(update, call, { undelete: true });
        return json(toZepSession(session as Session));
      },
    },
  ];
}

/** Those of the whole project, or those of one user. */
export function listSessions(
  sessions: SessionService,
  positions: Positions<Place>,
  userId: string | undefined,
  { query, connection }: Incoming,
  call: Call,
): AsyncGenerator<string> {
  const list = async function* (request: Partial<ListSessionsRequest>) {
    for await (const chunk of sessions.listSessions(ListSessionsRequest.fromPartial({ ...request, userId }), call)) {
      yield decoded(ListSessionsResponse, chunk);
    }
  };
  const listing: Listing<Session> = {
    name: JSON.stringify(["sessions", call.project, call.user, userId]),
    async *read({ cursor, createdAfter }, limit) {
      for await (const chunk of list({ cursor, createdAfter: timestamp(createdAfter), limit, chunkSize: limit })) {
        yield { items: chunk.sessions, nextCursor: chunk.nextCursor };
      }
    },
    numberOf: sessionNumber,
    async find(number) {
      // In the millisecond in which its bearer was created there may be others before and after it. It may have been deleted since.
      const created = createTimeIn(number);
      const bounds = { createdAfter: timestamp(created - 1), createdBefore: timestamp(created + 1), showDeleted: true };
      let count = 0;
      let skip = 0;
      for await (const chunk of list(bounds)) {
        for (const session of chunk.sessions) {
          if (!session.deleteTime) count += 1;
          if (skip === 0 && sessionNumber(session) === number) skip = count;
        }
      }
      return { place: { cursor: "", createdAfter: created - 1 }, skip };
    },
    beyond: (last) => ({ cursor: "", createdAfter: createTimeIn(sessionNumber(last)) }),
  };
  return jsonArray(pageOf(listing, query, connection, positions), toZepSession);
}

function timestamp(milliseconds: number | undefined) {
  if (milliseconds === undefined) return undefined;
  const seconds = Math.floor(milliseconds / 1000);
  return { seconds, nanos: (milliseconds - seconds * 1000) * 1e6 };
}
