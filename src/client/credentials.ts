import { type ChannelCredentials, credentials as grpc } from "@grpc/grpc-js";
import { certificatesOf, privateKeyOf } from "../domain/pem.js";
import { invalidArgument, type SessionsClientError } from "./error.js";
import { isLoopback } from "./loopback.js";

/** Encryption, and who is trusted. All is PEM. */
export interface TlsOptions {
  /** The authorities that may have signed the service's certificate. Default: those that Node trusts. */
  readonly ca?: string | Buffer;
  /** This client's own certificate, for a service that asks for one, and its key, not encrypted. One goes with the other. */
  readonly cert?: string | Buffer;
  readonly key?: string | Buffer;
}

export interface CredentialOptions {
  readonly address: string;
  readonly key: string | undefined;
  readonly allowPlaintextKey: boolean;
  readonly tls: boolean | TlsOptions;
  readonly credentials: ChannelCredentials | undefined;
}

export interface Credentials {
  readonly channel: ChannelCredentials;
  /** What each call shows; undefined for nothing. */
  readonly authorization: string | undefined;
  /** Whether no proxy may come between: an unencrypted key would be its to read. */
  readonly isDirect: boolean;
}

/** Whatever is wrong is thrown before there is a connection, in words that show nothing of a key. */
export function toCredentials({ address, key, allowPlaintextKey, tls, credentials }: CredentialOptions): Credentials {
  if (credentials && tls) throw invalidArgument("credentials", "Not together with tls.");
  const channel = credentials ?? toChannel(tls);
  if (key === undefined) return { channel, authorization: undefined, isDirect: false };
  // What grpc-js says of a header that it cannot send holds the header.
  if (!/^[\x21-\x7e]([\x20-\x7e]*[\x21-\x7e])?$/.test(key)) {
    throw invalidArgument("key", "One line of printable ASCII, not empty, without spaces around it.");
  }
  const isPlaintext = !channel._isSecure() && !allowPlaintextKey;
  if (isPlaintext && !isLoopback(address)) {
    throw invalidArgument(
      "key",
      `Would go unencrypted to ${address}, which is not surely this machine. ` +
        "Turn encryption on (tls, --tls), or allow it (allowPlaintextKey, --allow-plaintext-key).",
    );
  }
  return { channel, authorization: `Bearer ${key}`, isDirect: isPlaintext };
}

function toChannel(tls: boolean | TlsOptions): ChannelCredentials {
  if (tls === false) return grpc.createInsecure();
  const { ca, cert, key } = tls === true ? {} : tls;
  if (cert === undefined && key !== undefined) throw invalidArgument("tls.cert", "Required with tls.key.");
  if (key === undefined && cert !== undefined) throw invalidArgument("tls.key", "Required with tls.cert.");
  parsed("tls.ca", ca, certificatesOf);
  const [certificate] = parsed("tls.cert", cert, certificatesOf) ?? [];
  const privateKey = parsed("tls.key", key, privateKeyOf);
  if (certificate && privateKey && !certificate.checkPrivateKey(privateKey)) {
    throw invalidArgument("tls.key", "Does not belong to the first certificate of tls.cert.");
  }
  try {
    return grpc.createSsl(bytesOf(ca), bytesOf(key), bytesOf(cert));
  } catch (error) {
    throw invalidArgument("tls", `Cannot be used: ${(error as Error).message.split(":").at(-1)}.`);
  }
}

function parsed<T>(field: string, pem: string | Buffer | undefined, parse: (bytes: Buffer) => T): T | undefined {
  const bytes = bytesOf(pem);
  if (bytes === null) return undefined;
  try {
    return parse(bytes);
  } catch (error) {
    throw unfit(field, error as Error);
  }
}

const unfit = (field: string, { message }: Error): SessionsClientError =>
  invalidArgument(field, message.charAt(0).toUpperCase() + message.slice(1));

const bytesOf = (pem: string | Buffer | undefined): Buffer | null =>
  typeof pem === "string" ? Buffer.from(pem) : (pem ?? null);
