/** The TypeScript client of the sessions service. */
export type { SessionsClient } from "./api.js";
export { type ClientOptions, createClient } from "./client.js";
export type { TlsOptions } from "./credentials.js";
export { type ErrorCode, type ErrorReason, SessionsClientError, type Violation } from "./error.js";
export type { Chunk, Listing } from "./listing.js";
export type * from "./requests.js";
export type * from "./resources.js";
export type { RetryOptions } from "./retries.js";
export type { CallOptions } from "./scope.js";
export { type MethodConfig, type ServiceConfig, serviceConfig } from "./service-config.js";
