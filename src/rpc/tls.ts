import { experimental, type ServerCredentials } from "@grpc/grpc-js";
import type { TlsContents } from "../tls/files.js";
import { type FollowedTls, HANDSHAKE_MS } from "../tls/followed.js";

/** Credentials that follow their files. Connections that are open keep what they began with. */
export function tlsCredentials(tls: FollowedTls): ServerCredentials {
  const provider = createProvider(tls);
  const clients = tls.asksClients ? provider : null;
  // The declaration has these two by each other's name: the first is for the server's own certificate.
  const credentials = experimental.createCertificateProviderServerCredentials(provider, clients, clients !== null);
  const options = { ...credentials._getConstructorOptions(), handshakeTimeout: HANDSHAKE_MS };
  return Object.assign(credentials, { _getConstructorOptions: () => options });
}

/**
 * In place of grpc-js's FileWatcherCertificateProvider, with which every connection is refused for as long as a file is away,
 * half written, or newer than the one that it belongs to.
 */
function createProvider(tls: FollowedTls): experimental.CertificateProvider {
  const stops = new Map<object, () => void>();
  // What is there already is told at the next tick: grpc-js passes on nothing that it hears while it is adding its listener.
  const add = (listener: object, tell: (contents: TlsContents) => void): void => {
    process.nextTick(() => tell(tls.contents()));
    stops.set(listener, tls.onChange(tell));
  };
  const remove = (listener: object): void => {
    stops.get(listener)?.();
    stops.delete(listener);
  };
  return {
    addIdentityCertificateListener: (listener) =>
      add(listener, ({ certificate, key }) => listener({ certificate, privateKey: key })),
    removeIdentityCertificateListener: remove,
    // grpc-js listens for it only where there is one.
    addCaCertificateListener: (listener) =>
      add(listener, ({ clientCa }) => listener({ caCertificate: clientCa as Buffer })),
    removeCaCertificateListener: remove,
  };
}
