import { execFile } from "node:child_process";
import { existsSync } from "node:fs";
import { chmod, mkdir, mkdtemp, rename, rm, writeFile } from "node:fs/promises";
import { homedir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { temporaryFolder } from "./temporary-folder.js";

/**
 * Clients of other languages, as their users have them. Getting them takes Go, Python and minutes, so that only CI must have
 * them. They are kept in `~/.cache/sessions-test-clients`.
 */
export const FOREIGN_CLIENTS = process.env.SESSIONS_TEST_FOREIGN_CLIENTS === "true";

const GRPCURL = "1.9.3";
const GRPCIO = "1.85.1";
const PROTOBUF_JAVA = "4.36.2";
const PROTOC_GEN_GO = "1.36.12";
const PROTOC_GEN_GO_GRPC = "1.6.2";

/** The last of what speaks to the legacy Zep server, and the last history of LangChain's that is made of it, as far as they go together. */
const ZEP_PYTHON = "1.5.0";
const LANGCHAIN_COMMUNITY = "0.0.38";

const execute = promisify(execFile);

export interface Outcome {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

export type Program = (...args: string[]) => Promise<Outcome>;

export async function grpcurl(): Promise<Program> {
  const folder = await kept(`grpcurl-${GRPCURL}`, async (into) => {
    await execute("go", ["install", `github.com/fullstorydev/grpcurl/cmd/grpcurl@v${GRPCURL}`], {
      env: { ...process.env, GOBIN: into },
    });
  });
  return (...args) => run(join(folder, "grpcurl"), args);
}

/** Runs a script's text with the grpc package. */
export const python = (): Promise<Program> => pythonWith(`grpcio==${GRPCIO}`);

/** Runs a script's text with the Python SDK of the legacy Zep API. */
export const zepPython = (): Promise<Program> => pythonWith(`zep-python==${ZEP_PYTHON}`);

/** The same with LangChain's history that uses it. */
export const zepLangchain = (): Promise<Program> =>
  pythonWith(`langchain-community==${LANGCHAIN_COMMUNITY}`, `zep-python==${ZEP_PYTHON}`);

/** A folder with what the README has people install: protoc and its plugins, and the details of statuses. */
export const pythonTools = (): Promise<string> => pythonPackages(`grpcio-tools==${GRPCIO}`, `grpcio-status==${GRPCIO}`);

const pythonPackages = (...packages: string[]): Promise<string> =>
  kept(packages.join("-").replaceAll("==", "-"), async (into) => {
    await execute("python3", ["-m", "pip", "install", "--quiet", `--target=${into}`, ...packages]);
  });

async function pythonWith(...packages: string[]): Promise<Program> {
  const folder = await pythonPackages(...packages);
  return (script, ...args) => run("python3", ["-c", script, ...args], { PYTHONPATH: folder });
}

/** Where a Chromium is, which is installed first where apt-get can do it; or why there is none. */
export async function chromiumPath(): Promise<{ readonly path: string } | { readonly missing: string }> {
  const look = async (): Promise<string | undefined> => {
    for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
      const { code, stdout } = await run("sh", ["-c", `command -v ${name}`]);
      if (code === 0) return stdout.trim();
    }
    return undefined;
  };
  const path = await look();
  if (path) return { path };
  if (process.getuid?.() !== 0) return { missing: "no Chromium on the PATH, and only root can install one" };
  const install = "apt-get update -q && apt-get install -qy --no-install-recommends chromium";
  const { code, stderr } = await run("sh", ["-c", install], { DEBIAN_FRONTEND: "noninteractive" });
  const installed = code === 0 ? await look() : undefined;
  return installed ? { path: installed } : { missing: `apt-get could not install chromium: ${stderr.slice(-300)}` };
}

/** The compiler of protos itself, which makes Java, C#, Objective-C, PHP and Ruby without a plugin, and what its Java is compiled against. */
export async function protobuf(): Promise<{ readonly protoc: string; readonly javaRuntime: string }> {
  const compiler = `protoc-${PROTOBUF_JAVA}-linux-x86_64.exe`;
  const runtime = `protobuf-java-${PROTOBUF_JAVA}.jar`;
  const folder = await kept(`protobuf-${PROTOBUF_JAVA}`, async (into) => {
    for (const artifact of [`protoc:${PROTOBUF_JAVA}:exe:linux-x86_64`, `protobuf-java:${PROTOBUF_JAVA}`]) {
      const options = [`-Dartifact=com.google.protobuf:${artifact}`, `-DoutputDirectory=${into}`];
      await execute("mvn", ["--quiet", "--batch-mode", "dependency:copy", ...options]);
    }
    await chmod(join(into, compiler), 0o755);
  });
  return { protoc: join(folder, compiler), javaRuntime: join(folder, runtime) };
}

/** A folder with protoc's plugins for Go in it. */
export const goPlugins = (): Promise<string> =>
  kept(`protoc-gen-go-${PROTOC_GEN_GO}-grpc-${PROTOC_GEN_GO_GRPC}`, async (into) => {
    for (const plugin of [
      `google.golang.org/protobuf/cmd/protoc-gen-go@v${PROTOC_GEN_GO}`,
      `google.golang.org/grpc/cmd/protoc-gen-go-grpc@v${PROTOC_GEN_GO_GRPC}`,
    ]) {
      await execute("go", ["install", plugin], { env: { ...process.env, GOBIN: into } });
    }
  });

/** Runs a Go program of one file with gRPC. */
export async function goProgram(source: string): Promise<Program> {
  const folder = await temporaryFolder();
  await writeFile(join(folder, "go.mod"), goModule("client.example"));
  await writeFile(join(folder, "main.go"), source);
  for (const args of [
    ["mod", "tidy"],
    ["build", "-o", "client", "."],
  ]) {
    await execute("go", args, { cwd: folder });
  }
  return (...args) => run(join(folder, "client"), args);
}

/** The `go.mod` of a module that uses gRPC. */
export const goModule = (path: string): string => `module ${path}

go 1.25.0

require (
	google.golang.org/grpc v1.83.2
	google.golang.org/protobuf v${PROTOC_GEN_GO}
)
`;

/** A folder that is there whole or not at all, filled by whoever needs it first. */
export async function kept(name: string, fill: (folder: string) => Promise<void>): Promise<string> {
  const cache = join(homedir(), ".cache", "sessions-test-clients");
  const folder = join(cache, name);
  if (existsSync(folder)) return folder;
  await mkdir(cache, { recursive: true });
  const draft = await mkdtemp(join(cache, "new-"));
  try {
    await fill(draft);
    await rename(draft, folder);
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
  return folder;
}

/** Runs a program that may fail. */
export async function run(
  file: string,
  args: readonly string[],
  env: Record<string, string> = {},
  cwd?: string,
): Promise<Outcome> {
  try {
    return { code: 0, ...(await execute(file, args, { env: { ...process.env, ...env }, cwd })) };
  } catch (error) {
    const { code, stdout, stderr } = error as Outcome & Error;
    if (typeof code !== "number") throw error;
    return { code, stdout, stderr };
  }
}
