import { readFileSync } from "node:fs";
import { type Command, Option } from "commander";
import type { ClientOptions, TlsOptions } from "../client/index.js";
import { UsageError } from "./exit-codes.js";

/** Where the service is, who calls, and who is trusted: out of the command line, and out of the environment what it does not say. */
export type Connection = Pick<ClientOptions, "address" | "key" | "allowPlaintextKey" | "tls"> & { address: string };

type Environment = Readonly<Record<string, string | undefined>>;

interface Options {
  address?: string;
  key?: string;
  keyFile?: string;
  allowPlaintextKey?: boolean;
  tls?: boolean;
  tlsCa?: string;
  tlsCert?: string;
  tlsKey?: string;
}

const DEFAULT_ADDRESS = "127.0.0.1:50051";

export function addConnectionOptions(program: Command): void {
  program
    .option("--address <host:port>", `where the service listens; also SESSIONS_ADDRESS (default: ${DEFAULT_ADDRESS})`)
    .option("--key-file <file>", "a file that holds the API key or token to call with")
    .addOption(
      new Option(
        "--key <key>",
        "the API key or token itself; also SESSIONS_KEY. Shells keep what is typed, so a file or the environment is better",
      ).conflicts("keyFile"),
    )
    .option("--allow-plaintext-key", "send the key without encryption to another machine, too")
    .option("--tls", "encrypt; implied by the other --tls options")
    .option("--tls-ca <file>", "whose signature on the service's certificate is trusted, in PEM; also SESSIONS_TLS_CA")
    .option("--tls-cert <file>", "the certificate to show, in PEM")
    .option("--tls-key <file>", "its key, in PEM");
}

/** The defaults are not commander's: its help prints those, and the environment may hold a key. */
export function readConnection(options: Options, env: Environment): Connection {
  return {
    address: options.address ?? (env.SESSIONS_ADDRESS || DEFAULT_ADDRESS),
    key: options.keyFile === undefined ? (options.key ?? (env.SESSIONS_KEY || undefined)) : keyIn(options.keyFile),
    allowPlaintextKey: options.allowPlaintextKey,
    tls: readTls(options, env),
  };
}

function readTls({ tls, tlsCa, tlsCert, tlsKey }: Options, env: Environment): boolean | TlsOptions {
  if ((tlsCert === undefined) !== (tlsKey === undefined)) {
    throw new UsageError("--tls-cert and --tls-key go together");
  }
  const trusted =
    tlsCa === undefined ? contentOf("SESSIONS_TLS_CA", env.SESSIONS_TLS_CA || undefined) : contentOf("--tls-ca", tlsCa);
  const files = { ca: trusted, cert: contentOf("--tls-cert", tlsCert), key: contentOf("--tls-key", tlsKey) };
  return Object.values(files).some((content) => content !== undefined) ? files : (tls ?? false);
}

const keyIn = (file: string): string => contentOf("--key-file", file)?.trim() ?? "";

function contentOf(option: string, file: string | undefined): string | undefined {
  if (file === undefined) return undefined;
  try {
    return readFileSync(file, "utf8");
  } catch (error) {
    throw new UsageError(`${option} ${file}: cannot be read (${(error as NodeJS.ErrnoException).code})`);
  }
}
