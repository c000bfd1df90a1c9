import { createListing, type Listing } from "./listing.js";
import type { ListingName, RequestOf, ResponseOf } from "./methods.js";
import type { ListingRequest } from "./requests.js";
import type { CallOptions } from "./scope.js";
import type { Transport } from "./transport.js";

export interface ListingCall<Name extends ListingName, T> {
  readonly name: Name;
  readonly from: ListingRequest;
  /** The request but for its cursor and limit, which change with each attempt. */
  request(): RequestOf<Name>;
  itemsOf(chunk: ResponseOf<Name>): T[];
  readonly options: CallOptions | undefined;
}

/** A listing out of a server stream. Nothing is sent, and no mistake told, before it is iterated. */
export function listingCall<Name extends ListingName, T>(
  { stream }: Transport,
  { name, from, request, itemsOf, options }: ListingCall<Name, T>,
): Listing<T> {
  return createListing({
    cursor: from.cursor ?? "",
    limit: from.limit ?? 0,
    begin() {
      const { retries, attempt } = stream(options);
      const fixed = request();
      return {
        retries,
        async *attempt(cursor, limit) {
          for await (const chunk of attempt(name, { ...fixed, cursor, limit })) {
            yield { items: itemsOf(chunk), nextCursor: chunk.nextCursor };
          }
        },
      };
    },
  });
}
