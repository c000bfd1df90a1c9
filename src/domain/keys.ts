/**
 * The keys of sessions and users carry their project, so that no query can cross projects. A project's name has no
 * slash, so the first slash ends it, whatever the id holds.
 */
export const DEFAULT_PROJECT = "default";

export function keyOf(project: string, id: string): string {
  return `${project}/${id}`;
}

export function idOf(key: string): string {
  return key.slice(key.indexOf("/") + 1);
}

export function projectOf(key: string): string {
  return key.slice(0, key.indexOf("/"));
}

/** The half-open range of all keys of a project: "0" is the character after "/". */
export function keyRange(project: string): { from: string; to: string } {
  return { from: `${project}/`, to: `${project}0` };
}

/**
 * The key of a message. An epoch belongs to one memory of one session, so this is unique, and an id can be used again
 * in another memory.
 */
export function messageKeyOf(epoch: string, messageId: string): string {
  return `${epoch}/${messageId}`;
}

export function messageIdOf({ _id, epoch }: { readonly _id: string; readonly epoch: string }): string {
  return _id.slice(epoch.length + 1);
}
