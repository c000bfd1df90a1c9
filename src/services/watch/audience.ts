import { projectOf } from "../../domain/keys.js";
import type { Told } from "./told.js";
import type { Watcher } from "./watcher.js";

/** Those who are told by one source. An event finds its watchers by its keys, however many others there are. */
export class Audience {
  readonly #all = new Set<Watcher>();
  readonly #bySession = new Map<string, Set<Watcher>>();
  readonly #byUser = new Map<string, Set<Watcher>>();
  readonly #byProject = new Map<string, Set<Watcher>>();
  /** Those who see only what is one user's, by project. */
  readonly #bound = new Map<string, Set<Watcher>>();

  get all(): ReadonlySet<Watcher> {
    return this.#all;
  }

  add(watcher: Watcher): void {
    this.#all.add(watcher);
    for (const [index, key] of this.#placesOf(watcher)) {
      const there = index.get(key);
      if (there) there.add(watcher);
      else index.set(key, new Set([watcher]));
    }
  }

  remove(watcher: Watcher): void {
    if (!this.#all.delete(watcher)) return;
    for (const [index, key] of this.#placesOf(watcher)) {
      const there = index.get(key);
      there?.delete(watcher);
      if (there?.size === 0) index.delete(key);
    }
  }

  #placesOf({ filter: { project, session, user } }: Watcher): [Map<string, Set<Watcher>>, string][] {
    const index: [Map<string, Set<Watcher>>, string] =
      session !== undefined
        ? [this.#bySession, session]
        : user !== undefined
          ? [this.#byUser, user]
          : [this.#byProject, project];
    return user === undefined ? [index] : [index, [this.#bound, project]];
  }

  /** Whether somebody may be told of what happens to a session. */
  readonly watches = (session: string): boolean => {
    if (this.#bySession.has(session)) return true;
    const project = projectOf(session);
    return this.#byProject.has(project) || (this.#byUser.size > 0 && this.#bound.has(project));
  };

  /** Those who are told of an event. */
  *of(told: Told): Generator<Watcher, void> {
    const { session, owner, formerOwner } = told;
    for (const watcher of this.#bySession.get(session) ?? []) if (isTheirs(watcher, told)) yield watcher;
    yield* this.#byProject.get(projectOf(session)) ?? [];
    if (owner) yield* this.#byUser.get(owner) ?? [];
    if (formerOwner && formerOwner !== owner) yield* this.#byUser.get(formerOwner) ?? [];
  }

  /** Those of whom nobody can tell any more whether an event is theirs, and who would miss something. */
  *unsure({ session, owner, formerOwner, isLast }: Told): Generator<Watcher, void> {
    if ((owner !== undefined && formerOwner !== undefined) || isLast) return;
    for (const watcher of this.#bound.get(projectOf(session)) ?? []) {
      const { filter } = watcher;
      if (filter.user !== owner && (filter.session === undefined || filter.session === session)) yield watcher;
    }
  }
}

function isTheirs({ filter: { user } }: Watcher, { owner, formerOwner }: Told): boolean {
  return user === undefined || user === owner || user === formerOwner;
}
