import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";

/** What PEM texts hold. What is wrong with one is thrown in words that show nothing of it. */

const CERTIFICATE = /^-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----\s*$/gm;

/**
 * One certificate or more, in their order. OpenSSL passes in silence over what it does not understand; here a text that breaks
 * off, as of a file that is still being written, is refused, and so are two texts that were joined without an end of line.
 */
export function certificatesOf(pem: Buffer): readonly [X509Certificate, ...X509Certificate[]] {
  const text = pem.toString("latin1");
  const blocks = text.match(CERTIFICATE) ?? [];
  if (blocks.length !== text.split("-----BEGIN CERTIFICATE").length - 1) {
    throw new Error("holds a certificate that is not whole, or not on lines of its own.");
  }
  const [first, ...more] = blocks.map(certificateOf);
  if (!first) throw new Error("holds no certificate in PEM.");
  return [first, ...more];
}

function certificateOf(block: string): X509Certificate {
  try {
    return new X509Certificate(block);
  } catch {
    throw new Error("holds a certificate that cannot be read.");
  }
}

const ENCRYPTED = /^-----BEGIN ENCRYPTED PRIVATE KEY-----|^Proc-Type: 4,ENCRYPTED/m;

export function privateKeyOf(pem: Buffer): KeyObject {
  try {
    return createPrivateKey({ key: pem, format: "pem" });
  } catch {
    // How Node says so differs from version to version, and from key to key.
    const isEncrypted = ENCRYPTED.test(pem.toString("latin1"));
    throw new Error(isEncrypted ? "is encrypted: give the key without a passphrase." : "holds no private key in PEM.");
  }
}
