import { mkdtemp, rename, rm } from "node:fs/promises";
import { dirname, join } from "node:path";
import { DryMongoBinary } from "mongodb-memory-server-core";
import { MongoBinaryDownload } from "mongodb-memory-server-core/lib/util/MongoBinaryDownload.js";

export const DOWNLOADED_VERSION = "7.0.30";

/** How long the site may be silent. One that cannot be reached must not hold up the start. */
const SILENCE_MS = 5_000;
const ATTEMPTS = 1;
const PROGRESS_MS = 2_000;

/** Puts MongoDB's own `mongod` for this machine at `target`; the answer is why it could not be, in a few words. */
export async function downloadMongod(target: string, log: (line: string) => void): Promise<string | undefined> {
  log(`downloading MongoDB ${DOWNLOADED_VERSION} from MongoDB's site`);
  const folder = await mkdtemp(join(dirname(target), "download-"));
  try {
    const thisMachine = await DryMongoBinary.generateOptions({ version: DOWNLOADED_VERSION });
    const download = new MongoBinaryDownload({ ...thisMachine, downloadDir: folder, checkMD5: true });
    verifyTlsAndFailFast(download);
    reportProgress(download, log);
    // The library unpacks into place. A rename makes it appear whole or not at all.
    await rename(await download.getMongodPath(), target);
    return undefined;
  } catch (error) {
    return (error instanceof Error ? error.message : String(error)).replaceAll(/\s+/g, " ");
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
}

/**
 * The library verifies TLS certificates only where npm's `strict-ssl` is in the environment. What it fetches is run, and
 * the checksum comes from the same place: it has to be verified always.
 */
function verifyTlsAndFailFast(download: MongoBinaryDownload): void {
  const fetch = download.httpDownload.bind(download);
  download.httpDownload = (url, options, location, temporary) =>
    fetch(url, { ...options, rejectUnauthorized: true }, location, temporary, ATTEMPTS, 0, SILENCE_MS);
}

/** The library's own report goes to standard output, which is not the log. */
function reportProgress(download: MongoBinaryDownload, log: (line: string) => void): void {
  const progress = download.dlProgress;
  download.printDownloadProgress = (chunk) => {
    progress.current += chunk.length;
    const now = Date.now();
    if (now - progress.lastPrintedAt < PROGRESS_MS) return;
    progress.lastPrintedAt = now;
    log(`downloading MongoDB: ${Math.round(progress.current / 2 ** 20)} of ${Math.round(progress.totalMb)} MB`);
  };
}
