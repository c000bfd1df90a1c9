/** Something that the user can put right: its message is one line that says what to do. */
export class LocalMongoError extends Error {
  override readonly name: string = "LocalMongoError";
}

/** Another live process runs a local MongoDB on the same data folder. */
export class DataFolderInUseError extends LocalMongoError {
  override readonly name = "DataFolderInUseError";
}

/** What every way of getting a `mongod` comes down to when it fails. */
export const INSTEAD = "Set MONGODB_URI to a MongoDB replica set, or MONGOD_BINARY to a mongod of this machine.";
