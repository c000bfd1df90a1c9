import { createPrivateKey, generateKeyPairSync } from "node:crypto";
import { join } from "node:path";
import { generate } from "selfsigned";
import { beforeAll, expect, it } from "vitest";
import { type Config, ConfigError, readConfig } from "../src/config/index.js";
import { createAuthority, type Identity, layTlsFiles, replace } from "./support/certificates.js";
import { temporaryFolder } from "./support/temporary-folder.js";

const NAMES = {
  certificate: "SESSIONS_TLS_CERT_FILE",
  key: "SESSIONS_TLS_KEY_FILE",
  clientCa: "SESSIONS_TLS_CLIENT_CA_FILE",
} as const;

type Texts = Partial<Record<keyof typeof NAMES, string>>;

let own: Identity;
let other: Identity;
let ca: string;
beforeAll(async () => {
  const authority = await createAuthority();
  [own, other] = (await Promise.all([authority.issue("own"), authority.issue("other")])) as [Identity, Identity];
  ca = authority.cert;
});

/** Lays each text into a file, and reads the configuration that names the files. */
async function read(texts: Texts, more: Record<string, string> = {}): Promise<Config["tls"]> {
  const folder = await temporaryFolder();
  const env: Record<string, string> = { ...more };
  for (const [file, text] of Object.entries(texts)) {
    const path = join(folder, file);
    await replace(path, text);
    env[NAMES[file as keyof typeof NAMES]] = path;
  }
  return readConfig(env, false).tls;
}

/** Each mistake, without the value of its variable. */
async function mistakes(...args: Parameters<typeof read>): Promise<string[]> {
  try {
    await read(...args);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    return error.mistakes.map((mistake) => mistake.replace(/="[^"]*"/, ""));
  }
  return [];
}

it("takes a certificate with its key, and perhaps a client CA", async () => {
  const folder = await temporaryFolder();
  const files = await layTlsFiles(folder, own, ca);
  const { certificate, key, clientCa = "" } = files;
  const env = { SESSIONS_TLS_CERT_FILE: certificate, SESSIONS_TLS_KEY_FILE: key };
  expect(readConfig(env, false).tls).toEqual({ ...files, clientCa: undefined });
  expect(readConfig({ ...env, SESSIONS_TLS_CLIENT_CA_FILE: clientCa }, false).tls).toEqual(files);
  expect(readConfig({ SESSIONS_TLS_CERT_FILE: "", SESSIONS_TLS_KEY_FILE: "" }, false).tls).toBeUndefined();
});

it("takes chains, several client CAs, text around the PEM, and keys of other kinds", async () => {
  expect(await mistakes({ certificate: `${own.cert}\n${ca}`, key: own.key, clientCa: `${ca}\n${other.cert}` })).toEqual(
    [],
  );
  expect(await mistakes({ certificate: `Subject: own\n${own.cert}`.replaceAll("\n", "\r\n"), key: own.key })).toEqual(
    [],
  );
  const sec1 = createPrivateKey(own.key).export({ type: "sec1", format: "pem" }) as string;
  expect(await mistakes({ certificate: own.cert, key: sec1 })).toEqual([]);
  const both = `${own.cert}\n${own.key}`;
  expect(await mistakes({ certificate: both, key: both })).toEqual([]);
});

it.each<[string, () => Texts, string[]]>([
  ["a key without a certificate", () => ({ key: own.key }), ["CERT_FILE: required with SESSIONS_TLS_KEY_FILE."]],
  [
    "a certificate without a key",
    () => ({ certificate: own.cert }),
    ["KEY_FILE: required with SESSIONS_TLS_CERT_FILE."],
  ],
  [
    "a client CA alone",
    () => ({ clientCa: ca }),
    ["CERT_FILE: required with SESSIONS_TLS_CLIENT_CA_FILE.", "KEY_FILE: required with SESSIONS_TLS_CLIENT_CA_FILE."],
  ],
  [
    "a client CA with half of the rest",
    () => ({ certificate: own.cert, clientCa: ca }),
    ["KEY_FILE: required with SESSIONS_TLS_CERT_FILE and SESSIONS_TLS_CLIENT_CA_FILE."],
  ],
  [
    "another certificate's key",
    () => ({ certificate: own.cert, key: other.key }),
    ["KEY_FILE: does not belong to the first certificate in the certificate file."],
  ],
  [
    "a chain in the wrong order",
    () => ({ certificate: `${ca}\n${own.cert}`, key: own.key }),
    ["KEY_FILE: does not belong to the first certificate in the certificate file."],
  ],
  [
    "an encrypted key",
    () => ({ certificate: own.cert, key: encrypted(own.key, "pkcs8") }),
    ["KEY_FILE: is encrypted: give the key without a passphrase."],
  ],
  [
    "an encrypted key of the older kind",
    () => ({ certificate: own.cert, key: encrypted(own.key, "sec1") }),
    ["KEY_FILE: is encrypted: give the key without a passphrase."],
  ],
  [
    "certificate and key in each other's place",
    () => ({ certificate: own.key, key: own.cert }),
    ["CERT_FILE: holds no certificate in PEM.", "KEY_FILE: holds no private key in PEM."],
  ],
  [
    "nothing but empty files",
    () => ({ certificate: "", key: "", clientCa: "" }),
    [
      "CERT_FILE: holds no certificate in PEM.",
      "KEY_FILE: holds no private key in PEM.",
      "CLIENT_CA_FILE: holds no certificate in PEM.",
    ],
  ],
  [
    "a certificate of nonsense",
    () => ({ certificate: "-----BEGIN CERTIFICATE-----\nbm9uc2Vuc2U=\n-----END CERTIFICATE-----", key: own.key }),
    ["CERT_FILE: holds a certificate that cannot be read."],
  ],
  [
    "a file that breaks off",
    () => ({ certificate: own.cert, key: own.key, clientCa: `${ca}\n${ca}`.slice(0, -40) }),
    ["CLIENT_CA_FILE: holds a certificate that is not whole, or not on lines of its own."],
  ],
  [
    "certificates that were joined without an end of line",
    () => ({ certificate: own.cert, key: own.key, clientCa: ca.trimEnd() + ca }),
    ["CLIENT_CA_FILE: holds a certificate that is not whole, or not on lines of its own."],
  ],
])("refuses %s", async (_, texts, told) => {
  expect(await mistakes(texts())).toEqual(told.map((one) => `SESSIONS_TLS_${one}`));
});

it("refuses what OpenSSL does not take", async () => {
  const { privateKey, publicKey } = generateKeyPairSync("rsa", { modulusLength: 512 });
  const weak = await generate([{ name: "commonName", value: "weak" }], {
    algorithm: "sha256",
    keyPair: {
      privateKey: privateKey.export({ type: "pkcs8", format: "pem" }) as string,
      publicKey: publicKey.export({ type: "spki", format: "pem" }) as string,
    },
  });
  expect(await mistakes({ certificate: weak.cert, key: weak.private })).toEqual([
    "SESSIONS_TLS_CERT_FILE: cannot be used: ee key too small.",
  ]);
});

it("tells files that cannot be read, along with every other mistake", async () => {
  const env = { SESSIONS_TLS_CERT_FILE: "/nowhere/at/all", SESSIONS_TLS_KEY_FILE: "/", SESSIONS_WORKERS: "none" };
  expect((await mistakes({ clientCa: "x" }, env)).sort()).toEqual([
    "SESSIONS_TLS_CERT_FILE: cannot be read (ENOENT).",
    "SESSIONS_TLS_CLIENT_CA_FILE: holds no certificate in PEM.",
    "SESSIONS_TLS_KEY_FILE: cannot be read (EISDIR).",
    expect.stringMatching(/^SESSIONS_WORKERS: /),
  ]);
  expect(() => readConfig(env, false)).toThrow('SESSIONS_TLS_CERT_FILE="/nowhere/at/all": cannot be read');
});

const encrypted = (key: string, type: "pkcs8" | "sec1"): string =>
  createPrivateKey(key).export({ type, format: "pem", cipher: "aes-256-cbc", passphrase: "p" }) as string;
