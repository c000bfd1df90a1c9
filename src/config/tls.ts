import { type TlsFiles, tlsFaults } from "../tls/files.js";

const VARIABLES = {
  certificate: "SESSIONS_TLS_CERT_FILE",
  key: "SESSIONS_TLS_KEY_FILE",
  clientCa: "SESSIONS_TLS_CLIENT_CA_FILE",
} as const;

/** Undefined for no encryption. The files are read here only to be checked: the server follows what they hold. */
export function readTlsFiles(
  env: Readonly<Record<string, string | undefined>>,
  mistakes: string[],
): TlsFiles | undefined {
  const certificate = env[VARIABLES.certificate] || undefined;
  const key = env[VARIABLES.key] || undefined;
  const clientCa = env[VARIABLES.clientCa] || undefined;
  const files = { certificate, key, clientCa };
  for (const { file, description } of tlsFaults(files)) {
    mistakes.push(`${VARIABLES[file]}=${JSON.stringify(files[file])}: ${description}`);
  }
  if (certificate && key) return { certificate, key, clientCa };
  const others = Object.values(VARIABLES).filter((name) => env[name]);
  for (const file of ["certificate", "key"] as const) {
    if (others.length > 0 && !files[file]) mistakes.push(`${VARIABLES[file]}: required with ${others.join(" and ")}.`);
  }
  return undefined;
}
