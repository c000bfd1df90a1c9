/**
 * Where listings that were served page by page go on. The legacy SDKs page by integers: the number of items that they have asked for so
 * far, or the `id` of the last one that they have got. A bare number of items means another place as soon as one before it is deleted,
 * so it is remembered where each page ended, and who read it: the next page goes on right there.
 */
export interface Positions<Place> {
  /** Where the page before ended for whoever asks for the one at `cursor`; undefined where that is not known (any more). */
  find(listing: string, cursor: number, reader: object): Place | undefined;
  note(listing: string, cursor: number, reader: object, place: Place): void;
}

interface Noted<Place> {
  readonly place: Place;
  /** The connection that the page went out on: mostly the next one is asked for there, too. */
  readonly reader: WeakRef<object>;
  /** Whether the page that follows has been asked for. */
  isTaken: boolean;
}

/** How many pages at one position are remembered: those of as many readers at once. */
const READERS = 16;

/** `max` bounds the positions that are remembered: the one that was noted or found least recently is forgotten first. */
export function createPositions<Place>(max: number): Positions<Place> {
  const noted = new Map<string, Noted<Place>[]>();
  const keyOf = (listing: string, cursor: number): string => `${cursor}/${listing}`;
  const use = (key: string, pages: Noted<Place>[]): void => {
    noted.delete(key);
    noted.set(key, pages);
  };

  return {
    find(listing, cursor, reader) {
      const key = keyOf(listing, cursor);
      const pages = noted.get(key);
      if (!pages) return undefined;
      use(key, pages);
      const isOwn = (page: Noted<Place>): boolean => page.reader.deref() === reader;
      // A page is asked for once, or again when its answer got lost. Of a reader's own the latest counts: the others were of listings
      // that they did not go on with.
      const found =
        pages.findLast((page) => isOwn(page) && !page.isTaken) ??
        pages.findLast((page) => !page.isTaken) ??
        pages.findLast(isOwn) ??
        pages.at(-1);
      if (found) found.isTaken = true;
      return found?.place;
    },

    note(listing, cursor, reader, place) {
      const key = keyOf(listing, cursor);
      const pages = noted.get(key) ?? [];
      use(key, [...pages.slice(1 - READERS), { place, reader: new WeakRef(reader), isTaken: false }]);
      for (const oldest of noted.keys()) {
        if (noted.size <= max) break;
        noted.delete(oldest);
      }
    },
  };
}
