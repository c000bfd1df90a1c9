/** The limits of the contract, in the units that their names tell. */
export const MAX_ID_CODE_POINTS = 256;
export const MAX_TEXT_CODE_POINTS = 256;
export const MAX_ETAG_CHARACTERS = 64;
export const MAX_CONTENT_BYTES = 1024 * 1024;
export const MAX_PAYLOAD_BYTES = 1024 * 1024;
export const MAX_METADATA_BYTES = 64 * 1024;
export const MAX_METADATA_DEPTH = 32;
/** What gRPC clients take in one piece when they are not told otherwise. */
export const USUAL_RESPONSE_BYTES = 4 * 1024 * 1024;
/** What one GetMemory may answer when it is asked to. */
export const MAX_MEMORY_BYTES = 64 * 1024 * 1024;
export const MAX_REQUEST_BYTES = 8 * 1024 * 1024;
export const MAX_MESSAGES_PER_CALL = 1000;
/** How far ahead of the database's clock a message may have been made: clocks differ. */
export const MAX_CLOCK_LEAD_MS = 10_000;
export const MAX_REWOUND_MESSAGES = 1000;
/** What the messages of one RewindMemory may have: with its session, which has less than half a MiB, below what clients take by default. */
export const MAX_REWOUND_BYTES = 3.5 * 1024 * 1024;
export const MAX_BATCH_IDS = 100;
export const MAX_LAST_N = 1000;
export const DEFAULT_CHUNK_SIZE = 100;
export const MAX_CHUNK_SIZE = 1000;

/** About 100 years, as for the times of the configuration. */
export const MAX_IDLE_TTL_MS = 36_500 * 86_400_000;
/** The last moment that a Timestamp holds. */
export const MAX_TIME_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

/** A chunk of a stream is closed when its items reach this size, so that a write is bounded in bytes too. */
export const CHUNK_BYTES = 256 * 1024;

export const DEFAULT_SEARCH_LIMIT = 10;
export const MAX_SEARCH_LIMIT = 100;
export const MAX_NEIGHBORS = 10;
/** What one search may have to look through. */
export const MAX_SCOPE_MESSAGES = 200_000;
/** What the messages of one SearchMemory may have: below the 4 MiB that clients take by default. */
export const MAX_SEARCH_BYTES = 4_000_000;
