import { readFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { createSecureContext } from "node:tls";
import { certificatesOf, privateKeyOf } from "../domain/pem.js";

/** The files by which the server shows who it is, and knows its clients. All are PEM. */
export interface TlsFiles {
  /** The server's certificate, and after it those between it and its root. */
  readonly certificate: string;
  readonly key: string;
  /** Whose client certificates are taken, and then one is required. Undefined: none is asked for. */
  readonly clientCa: string | undefined;
}

export interface TlsContents {
  readonly certificate: Buffer;
  readonly key: Buffer;
  readonly clientCa?: Buffer;
}

export interface TlsFault {
  readonly file: keyof TlsFiles;
  readonly description: string;
}

/** All that is wrong with the files that are named. */
export function tlsFaults(files: Partial<TlsFiles>): readonly TlsFault[] {
  const reads = named(files).map(({ file, path }) => {
    try {
      return { file, bytes: readFileSync(path) };
    } catch (error) {
      return { file, error };
    }
  });
  return judge(reads).faults;
}

/** What the files hold, fit to be used. Throws what is wrong with them, in one line. */
export async function readTls(files: TlsFiles): Promise<TlsContents> {
  const reads = named(files).map(({ file, path }) =>
    readFile(path).then(
      (bytes) => ({ file, bytes }),
      (error: unknown) => ({ file, error }),
    ),
  );
  const { contents, faults } = judge(await Promise.all(reads));
  if (faults.length > 0) {
    throw new Error(faults.map(({ file, description }) => `${files[file]} ${description}`).join(" "));
  }
  return contents as TlsContents;
}

interface Read {
  readonly file: keyof TlsFiles;
  readonly bytes?: Buffer;
  readonly error?: unknown;
}

function named(files: Partial<TlsFiles>): { file: keyof TlsFiles; path: string }[] {
  const all = ["certificate", "key", "clientCa"] as const;
  return all.flatMap((file) => (files[file] === undefined ? [] : [{ file, path: files[file] }]));
}

function judge(reads: readonly Read[]): { contents: Partial<TlsContents>; faults: readonly TlsFault[] } {
  const unreadable = reads
    .filter(({ error }) => error !== undefined)
    .map(({ file, error }) => ({ file, description: `cannot be read (${(error as NodeJS.ErrnoException).code}).` }));
  const contents = Object.fromEntries(reads.flatMap(({ file, bytes }) => (bytes ? [[file, bytes]] : [])));
  return { contents, faults: [...unreadable, ...faultsOf(contents)] };
}

function faultsOf({ certificate, key, clientCa }: Partial<TlsContents>): readonly TlsFault[] {
  const faults: TlsFault[] = [];
  const parsed = <T>(file: keyof TlsFiles, bytes: Buffer | undefined, parse: (bytes: Buffer) => T): T | undefined => {
    try {
      return bytes && parse(bytes);
    } catch (error) {
      faults.push({ file, description: (error as Error).message });
      return undefined;
    }
  };
  const chain = parsed("certificate", certificate, certificatesOf);
  const privateKey = parsed("key", key, privateKeyOf);
  parsed("clientCa", clientCa, certificatesOf);
  if (chain && privateKey && !chain[0].checkPrivateKey(privateKey)) {
    faults.push({ file: "key", description: "does not belong to the first certificate in the certificate file." });
  }
  // OpenSSL has the last word: it refuses what is too weak, for one.
  if (faults.length === 0) parsed("certificate", certificate, (cert) => tryOut({ cert, key, ca: clientCa }));
  return faults;
}

function tryOut(options: { cert: Buffer; key: Buffer | undefined; ca: Buffer | undefined }): void {
  try {
    createSecureContext(options);
  } catch (error) {
    throw new Error(`cannot be used: ${(error as Error).message.split(":").at(-1)}.`);
  }
}
