import { invalidFields, type SessionsError } from "../../domain/errors.js";
import { MAX_REQUEST_BYTES } from "../../domain/limits.js";

/** What can be wrong with a request as a whole, in the words that gRPC callers are told it. */
export const badRequest = (description: string): SessionsError => invalidFields([{ field: "request", description }]);

export const tooLarge = (): SessionsError => badRequest(`Larger than ${MAX_REQUEST_BYTES} bytes: send less at a time.`);

/** What a library says, as a sentence. */
export const sentence = (text: string): string => `${text.charAt(0).toUpperCase()}${text.slice(1)}.`;
