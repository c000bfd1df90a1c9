import type { CommandStartedEvent, MongoClient } from "mongodb";
import type { Traces } from "../domain/traces.js";

/** Tells of each command that the driver sends: its name and whom it is sent to, nothing of what it says. */
export function followCommands(client: MongoClient, traces: Traces): void {
  const underWay = new Map<number, (failure?: unknown) => void>();
  const finish = (requestId: number, failure?: unknown): void => {
    underWay.get(requestId)?.(failure);
    underWay.delete(requestId);
  };
  client.on("commandStarted", (event) => {
    const end = traces.command({
      name: event.commandName,
      database: event.databaseName,
      collection: collectionOf(event),
      address: event.address,
    });
    if (end) underWay.set(event.requestId, end);
  });
  client.on("commandSucceeded", ({ requestId }) => finish(requestId));
  client.on("commandFailed", ({ requestId, failure }) => finish(requestId, failure));
}

function collectionOf({ commandName, command }: CommandStartedEvent): string | undefined {
  const name: unknown = commandName === "getMore" ? command.collection : command[commandName];
  return typeof name === "string" ? name : undefined;
}
