import { mkdir, writeFile } from "node:fs/promises";
import { join, relative, resolve } from "node:path";
import { beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { chooseMongod, startMongod } from "../../src/local/index.js";
import { freePort, waitUntilListening } from "../../src/local/port.js";
import { eventually } from "../support/eventually.js";
import { FOREIGN_CLIENTS, type Program } from "../support/foreign-clients.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import { COMPOSE, type Compose, DOCKERFILE, KUBERNETES, text, yaml } from "./files.js";
import * as tools from "./tools.js";

/** For a program that has to be built first, on a slow machine. */
const GETTING_MS = 1_200_000;

/** A file of `deploy/` with something in it that is not there before, and a mistake in its place. */
async function broken(file: string, right: string, wrong: string): Promise<string> {
  const content = text(file);
  expect(content).toContain(right);
  const copy = join(await temporaryFolder(), "broken");
  await writeFile(copy, content.replace(right, wrong));
  return copy;
}

describe.runIf(FOREIGN_CLIENTS)("hadolint", () => {
  let lint: Program;
  beforeAll(async () => {
    lint = await tools.hadolint();
  }, GETTING_MS);

  it("finds nothing in the Dockerfile", async () => {
    expect(await lint("--failure-threshold=style", DOCKERFILE)).toEqual({ code: 0, stdout: "", stderr: "" });
  });

  it.each([
    ["a relative folder to work in", "WORKDIR /app", "WORKDIR app", "DL3000"],
    ["a base image of any version", "20.20.2-bookworm-slim", "latest", "DL3007"],
    ["an instruction that there is none of", "USER 1000", "USERS 1000", "missing whitespace"],
  ])("finds %s", async (_what, right, wrong, rule) => {
    const { code, stdout, stderr } = await lint(await broken(DOCKERFILE, right, wrong));
    expect({ code, said: stdout + stderr }).toMatchObject({ code: 1, said: expect.stringContaining(rule) });
  });
});

describe.runIf(FOREIGN_CLIENTS)("compose-go", () => {
  let load: Program;
  beforeAll(async () => {
    load = await tools.compose();
  }, GETTING_MS);

  it("loads the project", async () => {
    expect(await load(COMPOSE)).toEqual({ code: 0, stdout: "", stderr: "" });
  });

  it.each([
    ["a key that there is none of", "depends_on:", "depend_on:", "depend_on"],
    ["a service that there is none of", "      mongodb:\n", "      mongo:\n", 'undefined service "mongo"'],
    ["a secret that there is none of", "      - admin-key", "      - admin", "undefined secret admin"],
    ["a network that there is none of", "      - database", "      - data", "undefined network data"],
    ["a condition that there is none of", "service_healthy", "healthy", "condition"],
    ["a time without a unit", "stop_grace_period: 20s", 'stop_grace_period: "20"', "stop_grace_period"],
  ])("finds %s", async (_what, right, wrong, said) => {
    const outcome = await load(await broken(COMPOSE, right, wrong));
    expect(outcome).toMatchObject({ code: 1, stderr: expect.stringContaining(said) });
  });
});

describe.runIf(FOREIGN_CLIENTS)("kustomize, the schemas of Kubernetes and kube-score", () => {
  let build: Program;
  let validate: Program;
  let score: Program;
  beforeAll(async () => {
    build = await tools.kustomize();
    score = await tools.kubeScore();
    validate = await tools.kubernetesValidate();
  }, GETTING_MS);

  /** What an operator writes to take the service with what it offers. */
  async function overlay(...components: string[]): Promise<string> {
    const folder = join(await temporaryFolder(), "overlay");
    await mkdir(folder);
    const from = (path: string) => relative(folder, resolve(KUBERNETES, path));
    await writeFile(
      join(folder, "kustomization.yaml"),
      JSON.stringify({ resources: [from(".")], components: components.map(from) }),
    );
    return folder;
  }

  async function rendered(folder: string): Promise<string> {
    const { code, stdout, stderr } = await build("build", folder);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    return stdout;
  }

  async function check(manifests: string, version: string) {
    const file = join(await temporaryFolder(), "manifests.yaml");
    await writeFile(file, manifests);
    const { code, stdout, stderr } = await validate("--kubernetes-version", version, "--strict", file);
    const lines = (stdout + stderr).split("\n");
    return {
      code,
      passed: lines.filter((line) => line.startsWith("INFO")).map((line) => / resource (\w+\/[a-z-]+)/.exec(line)?.[1]),
      faults: lines.filter((line) => line.startsWith("ERROR")),
    };
  }

  const ALL = [
    "configmap/sessions-",
    "service/sessions",
    "service/sessions-pods",
    "deployment/sessions",
    "poddisruptionbudget/sessions",
    "networkpolicy/sessions",
  ].map((name) => expect.stringContaining(name));

  // The oldest that has all that is used, and the newest that the schemas are there of.
  it.each(["1.30", "1.37"])("take the manifests, with TLS and without, for Kubernetes %s", async (version) => {
    for (const folder of [KUBERNETES, await overlay(), await overlay("tls")]) {
      expect(await check(await rendered(folder), version)).toEqual({ code: 0, passed: ALL, faults: [] });
    }
  });

  it("put TLS into every place that it concerns", async () => {
    const plain = await rendered(await overlay());
    const encrypted = await rendered(await overlay("tls"));
    expect(plain).not.toMatch(/tls|https/i);
    expect(encrypted.match(/scheme: HTTPS/g)).toHaveLength(3);
    expect(encrypted.match(/appProtocol: https/g)).toHaveLength(2);
    expect(encrypted).toMatch(/prometheus.io\/scheme: https/);
    expect(encrypted).toMatch(/SESSIONS_TLS_CERT_FILE: \/etc\/sessions\/tls\/tls.crt/);
    expect(encrypted).toMatch(/mountPath: \/etc\/sessions\/tls\n/);
    expect(encrypted).toMatch(/secretName: sessions-tls/);
  });

  it.each([
    ["a field that there is none of", "periodSeconds", "periodSecond", "periodSecond"],
    ["a text in a number's place", "replicas: 2", 'replicas: "2"', "spec.replicas"],
    ["a field that is missing", "topologyKey", "key", "topologyKey"],
    [
      "a policy for all pods there are",
      "  podSelector:\n    matchLabels:\n      app",
      "  other:\n    app",
      "podSelector",
    ],
  ])("find %s", async (_what, right, wrong, said) => {
    const manifests = await rendered(KUBERNETES);
    expect(manifests).toContain(right);
    const { code, faults } = await check(manifests.replace(right, wrong), "1.30");
    expect({ code, faults }).toEqual({ code: 1, faults: [expect.stringContaining(said)] });
  });

  /** What is not done, and is meant so. */
  const MEANT = [
    // A tag has one meaning here, and the user is the base image's.
    "container-image-pull-policy",
    "container-security-context-user-group-id",
    // Nothing is written to the disk.
    "container-ephemeral-storage-request-and-limit",
    // Where the database is, only its operator knows.
    "pod-networkpolicy",
    // Spread by topologySpreadConstraints.
    "deployment-has-host-podantiaffinity",
  ].flatMap((name) => ["--ignore-test", name]);

  async function faultsOf(manifests: string) {
    const file = join(await temporaryFolder(), "manifests.yaml");
    await writeFile(file, manifests);
    const format = ["--output-format", "ci", "--ignore-container-cpu-limit"];
    const { code, stdout } = await score("score", ...format, ...MEANT, "--exit-one-on-warning", file);
    return { code, faults: stdout.split("\n").filter((line) => /^\[(CRITICAL|WARNING)\]/.test(line)) };
  }

  it("find nothing of bad practice, nor anything that goes with nothing", async () => {
    for (const folder of [KUBERNETES, await overlay("tls")]) {
      expect(await faultsOf(await rendered(folder))).toEqual({ code: 0, faults: [] });
    }
  });

  it.each([
    [
      "a budget for no pods",
      /(PodDisruptionBudget[\s\S]*?matchLabels:\n\s+app.kubernetes.io\/name: )sessions/,
      "$1others",
      "PodDisruptionBudget",
    ],
    [
      "a disk that can be written to",
      /readOnlyRootFilesystem: true/,
      "readOnlyRootFilesystem: false",
      "writable root filesystem",
    ],
    ["no bounds", /limits:\n\s+memory: \S+/, "limits: {}", "Memory limit"],
    [
      "a service for no pods",
      /(selector:\n\s+app.kubernetes.io\/name: )sessions/,
      "$1others",
      "selector does not match any pods",
    ],
  ])("find %s", async (_what, right, wrong, said) => {
    const manifests = await rendered(KUBERNETES);
    const { code, faults } = await faultsOf(manifests.replace(right, wrong));
    expect({ code, faults }).toEqual({ code: 1, faults: expect.arrayContaining([expect.stringMatching(said)]) });
  });

  it("find a file that there is none of", async () => {
    const outcome = await build("build", await overlay("mtls"));
    expect(outcome).toMatchObject({ code: 1, stderr: expect.stringContaining("mtls") });
  });
});

describe.runIf(FOREIGN_CLIENTS)("mongosh", () => {
  let shell: Program;
  beforeAll(async () => {
    shell = await tools.mongosh();
  }, GETTING_MS);

  it("makes a new mongod the primary of its replica set by the healthcheck, and says when it is", async () => {
    const folder = await temporaryFolder();
    const program = await chooseMongod({ env: process.env, log: () => {} });
    const port = await freePort(undefined);
    const mongod = await startMongod({ program, folder, port, replicaSet: "rs0", env: process.env });
    onTestFinished(async () => {
      mongod.kill();
      await mongod.ended;
    });
    await waitUntilListening(port, () => !mongod.hasEnded());

    const [, ...command] = yaml<Compose>(COMPOSE).services.mongodb.healthcheck.test;
    const [name, ...args] = command;
    expect(name).toBe("mongosh");
    expect(args.at(-1)).toContain("mongodb:27017");
    const script = args.pop()?.replace("mongodb:27017", `127.0.0.1:${port}`) ?? "";
    const ask = () => shell("--port", String(port), ...args, script);

    expect(await ask()).toMatchObject({ code: expect.any(Number), stderr: "" });
    await eventually("it is the primary", async () => (await ask()).code === 0);
    mongod.kill();
    await mongod.ended;
    expect((await ask()).code).not.toBe(0);
  });
});
