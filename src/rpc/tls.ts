import { X509Certificate } from "node:crypto";
import { experimental, type ServerCredentials } from "@grpc/grpc-js";
import type { Logger } from "pino";
import { readTls, type TlsContents, type TlsFiles } from "../tls/files.js";

/**
 * How often the files are read. They are small, and news from the file system does not come from every mount, least of all from
 * those by which clusters hand out secrets.
 */
const INTERVAL_MS = 1_000;

/**
 * How long a client may take to agree on the encryption: as long as for the first bytes of a request. Node gives it two minutes,
 * and a stop would wait for it for all of the grace.
 */
const HANDSHAKE_MS = 10_000;

/** Credentials that follow their files. Connections that are open keep what they began with. */
export async function tlsCredentials(files: TlsFiles, log: Logger): Promise<ServerCredentials> {
  const provider = createProvider(files, await readTls(files), log);
  const clients = files.clientCa === undefined ? null : provider;
  // The declaration has these two by each other's name: the first is for the server's own certificate.
  const credentials = experimental.createCertificateProviderServerCredentials(provider, clients, clients !== null);
  const options = { ...credentials._getConstructorOptions(), handshakeTimeout: HANDSHAKE_MS };
  return Object.assign(credentials, { _getConstructorOptions: () => options });
}

/**
 * In place of grpc-js's FileWatcherCertificateProvider, with which every connection is refused for as long as a file is away,
 * half written, or newer than the one that it belongs to. Here what was good last stays.
 */
function createProvider(files: TlsFiles, first: TlsContents, log: Logger): experimental.CertificateProvider {
  const identityListeners = new Set<experimental.IdentityCertificateUpdateListener>();
  const caListeners = new Set<experimental.CaCertificateUpdateListener>();
  let contents = first;
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
    for (const listener of caListeners) listener(caOf(contents));
    for (const listener of identityListeners) listener(identityOf(contents));
    const { subject, validTo } = new X509Certificate(contents.certificate);
    log.info({ subject, valid_to: validTo }, "the TLS files have changed: new connections get what they hold now");
  };
  const watch = (): void => {
    clearTimeout(timer);
    if (identityListeners.size + caListeners.size === 0) return;
    timer = setTimeout(() => void look().then(watch), INTERVAL_MS);
    timer.unref();
  };

  // What is there already is told at the next tick: grpc-js passes on nothing that it hears while it is adding its listener.
  return {
    addIdentityCertificateListener(listener) {
      identityListeners.add(listener);
      process.nextTick(listener, identityOf(contents));
      watch();
    },
    removeIdentityCertificateListener(listener) {
      identityListeners.delete(listener);
      watch();
    },
    addCaCertificateListener(listener) {
      caListeners.add(listener);
      process.nextTick(listener, caOf(contents));
      watch();
    },
    removeCaCertificateListener(listener) {
      caListeners.delete(listener);
      watch();
    },
  };
}

const identityOf = ({ certificate, key }: TlsContents) => ({ certificate, privateKey: key });

/** grpc-js listens for it only where there is one. */
const caOf = ({ clientCa }: TlsContents) => ({ caCertificate: clientCa as Buffer });

function isSame(a: TlsContents, b: TlsContents): boolean {
  const bytes = ({ certificate, key, clientCa }: TlsContents) => [certificate, key, clientCa ?? Buffer.alloc(0)];
  const theirs = bytes(b);
  return bytes(a).every((part, n) => theirs[n]?.equals(part));
}
