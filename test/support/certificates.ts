import { rename, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { generate } from "selfsigned";
import type { TlsFiles } from "../../src/tls/files.js";

/** Certificates in PEM, made when the test runs. */
export interface Identity {
  readonly cert: string;
  readonly key: string;
}

/** Somebody whose signature others trust. */
export interface Authority {
  /** What others have to know to trust it. */
  readonly cert: string;
  /** A certificate for this machine's loopback, of a server and of a client alike. */
  issue(name: string): Promise<Identity>;
}

const QUICK = { keyType: "ec", algorithm: "sha256" } as const;

export async function createAuthority(name = "authority"): Promise<Authority> {
  const { cert, private: key } = await generate([{ name: "commonName", value: name }], {
    ...QUICK,
    extensions: [
      { name: "basicConstraints", cA: true, critical: true },
      { name: "keyUsage", keyCertSign: true, critical: true },
    ],
  });
  return {
    cert,
    async issue(commonName) {
      const issued = await generate([{ name: "commonName", value: commonName }], {
        ...QUICK,
        ca: { cert, key },
        extensions: [
          { name: "extKeyUsage", serverAuth: true, clientAuth: true },
          {
            name: "subjectAltName",
            altNames: [
              { type: 2, value: "localhost" },
              { type: 7, ip: "127.0.0.1" },
            ],
          },
        ],
      });
      return { cert: issued.cert, key: issued.private };
    },
  };
}

/** The files of a server, in a folder, as an operator lays and replaces them. */
export async function layTlsFiles(folder: string, { cert, key }: Identity, clientCa?: string): Promise<TlsFiles> {
  const files = {
    certificate: join(folder, "server.pem"),
    key: join(folder, "server-key.pem"),
    clientCa: clientCa === undefined ? undefined : join(folder, "client-ca.pem"),
  };
  await replace(files.certificate, cert);
  await replace(files.key, key);
  if (files.clientCa !== undefined && clientCa !== undefined) await replace(files.clientCa, clientCa);
  return files;
}

/** In one step, as a careful tool does it. */
export async function replace(file: string, content: string): Promise<void> {
  await writeFile(`${file}.new`, content);
  await rename(`${file}.new`, file);
}
