import { X509Certificate } from "node:crypto";
import type { Logger } from "pino";
import { readTls, type TlsContents, type TlsFiles } from "./files.js";

/**
 * How often the files are read. They are small, and news from the file system does not come from every mount, least of all from
 * those by which clusters hand out secrets.
 */
const INTERVAL_MS = 1_000;

/**
 * How long a client may take to agree on the encryption: as long as for the first bytes of a request. Node gives it two minutes,
 * and a stop would wait for it for all of the grace.
 */
export const HANDSHAKE_MS = 10_000;

/** What the TLS files hold now. While they are away, half written, or do not belong together, what was good last stays. */
export interface FollowedTls {
  /** Whether clients have to show a certificate. */
  readonly asksClients: boolean;
  /** The newest contents that can be used. */
  contents(): TlsContents;
  /** Has the listener called with each new contents, until the function that is returned has been called. */
  onChange(listener: (contents: TlsContents) => void): () => void;
}

/** Rejects when the files cannot be used to begin with. They are looked at as long as somebody listens. */
export async function followTls(files: TlsFiles, log: Logger): Promise<FollowedTls> {
  const listeners = new Set<(contents: TlsContents) => void>();
  let contents = await readTls(files);
  let fault = "";
  let warned = "";
  let timer: NodeJS.Timeout | undefined;

  const look = async (): Promise<void> => {
    try {
      const read = await readTls(files);
      fault = "";
      warned = "";
      if (!isSame(read, contents)) take(read);
    } catch (error) {
      const before = fault;
      fault = (error as Error).message;
      // Files that are replaced one after the other do not fit for a moment, which is nobody's fault.
      if (fault !== before || fault === warned) return;
      warned = fault;
      log.warn({ fault }, "the TLS files have become unfit: new connections still get what they held before");
    }
  };
  const take = (read: TlsContents): void => {
    contents = read;
    for (const listener of listeners) listener(contents);
    const { subject, validTo } = new X509Certificate(contents.certificate);
    log.info({ subject, valid_to: validTo }, "the TLS files have changed: new connections get what they hold now");
  };
  const watch = (): void => {
    clearTimeout(timer);
    if (listeners.size === 0) return;
    timer = setTimeout(() => void look().then(watch), INTERVAL_MS);
    timer.unref();
  };

  return {
    asksClients: files.clientCa !== undefined,
    contents: () => contents,
    onChange(listener) {
      listeners.add(listener);
      watch();
      return () => {
        listeners.delete(listener);
        watch();
      };
    },
  };
}

function isSame(a: TlsContents, b: TlsContents): boolean {
  const bytes = ({ certificate, key, clientCa }: TlsContents) => [certificate, key, clientCa ?? Buffer.alloc(0)];
  const theirs = bytes(b);
  return bytes(a).every((part, n) => theirs[n]?.equals(part));
}
