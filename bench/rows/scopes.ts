import type { SessionRecord } from "../../src/domain/records.js";
import { memoriesOf, seedScope } from "../data/seed.js";
import { readTexts, type Texts } from "../data/texts.js";
import type { Bench } from "../setup/bench.js";
import type { Stage } from "../setup/stage.js";

/** Users in whose memories is searched. */

export interface SearchedUser {
  readonly id: string;
  readonly sessions: readonly Pick<SessionRecord, "_id" | "epoch">[];
}

const SESSIONS = 100;

/** So many that none of them is still kept when its turn comes again, see COLD. */
const COLD_USERS = 6;

export async function searchStage(bench: Bench): Promise<{ stage: Stage; texts: Texts }> {
  const stage = await bench.stage("search");
  return { stage, texts: await stage.once("texts", () => readTexts(bench.questions)) };
}

/** A user with so many messages, the same one for all rows that want as many. */
export async function searchedUser(bench: Bench, messages: number, id = `user-${messages}`): Promise<SearchedUser> {
  const { stage, texts } = await searchStage(bench);
  return stage.once(id, async () => {
    bench.say(`putting in a user of ${messages} messages`);
    const sessions = await seedScope(stage.database, id, { sessions: SESSIONS, messages, said: texts.said });
    return { id, sessions: memoriesOf(sessions) };
  });
}

/** Users none of whom is known when the next search is about him, as far as searches go through them in turn. */
export async function coldUsers(bench: Bench): Promise<readonly SearchedUser[]> {
  const users: SearchedUser[] = [];
  for (let index = 0; index < COLD_USERS; index++) {
    users.push(await searchedUser(bench, bench.scale.scopeMessages, `cold-${index}`));
  }
  return users;
}

/** Has room for two or three of them: what was used last stays, so that whoever goes through all of them finds none. */
export const coldSettings = ({ scale }: Bench) => ({
  SESSIONS_SEARCH_CACHE_MIB: String(Math.ceil(scale.scopeMessages / 1_000)),
});
