import { existsSync } from "node:fs";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { readConfig } from "../../src/config/index.js";
import { createAuthority, layTlsFiles } from "../support/certificates.js";
import { temporaryFolder } from "../support/temporary-folder.js";
import {
  COMPOSE,
  type Compose,
  type Deployment,
  DOCKERFILE,
  environmentOf,
  filesIn,
  instructions,
  KUBERNETES,
  type Kustomization,
  lastStage,
  literalsOf,
  text,
  yaml,
  yamls,
} from "./files.js";

const manifest = JSON.parse(text("package.json")) as {
  version: string;
  engines: { node: string };
  scripts: Record<string, string>;
};
const image = lastStage(DOCKERFILE);
const settingsOfImage = environmentOf(image);
const compose = yaml<Compose>(COMPOSE);
const kustomization = yaml<Kustomization>(`${KUBERNETES}/kustomization.yaml`);
const deployment = yaml<Deployment>(`${KUBERNETES}/deployment.yaml`);
const tls = yaml<Kustomization>(`${KUBERNETES}/tls/kustomization.yaml`);
const pod = deployment.spec.template.spec;
const [container] = pod.containers;

const only = (keyword: string): string => {
  const found = image.filter((one) => one.keyword === keyword);
  expect(found, keyword).toHaveLength(1);
  return found[0]?.rest ?? "";
};
const portOf = (variable: string): number => Number(settingsOfImage[variable]?.split(":").at(-1));
const GRPC = portOf("SESSIONS_GRPC_LISTEN");
const HTTP = portOf("SESSIONS_HTTP_LISTEN");
const seconds = (duration: string | undefined): number => Number(/^(\d+)s$/.exec(duration ?? "")?.[1]);

/** The cells of the README's table that name variables, in which the end of a name stands for one like that before it. */
const documented = [...text("README.md").matchAll(/^\| (`[^|]*`) \|/gm)].map(
  ([, cell]) => cell?.match(/[A-Z_]+/g) ?? [],
);
const isDocumented = (name: string): boolean =>
  documented.some((cell) =>
    cell.some(
      (part) =>
        part === name ||
        (part.startsWith("_") &&
          name.endsWith(part) &&
          cell.some((whole) => whole.startsWith(name.slice(0, -part.length)))),
    ),
  );

describe("settings", () => {
  const read = filesIn("src/config").map(text).join("\n");
  const named = filesIn("deploy").flatMap((file) =>
    [...text(file).matchAll(/\b(?:SESSIONS|MONGODB)_[A-Z_]*[A-Z]\b/g)].map(([name]) => ({ file, name })),
  );

  it("are those that the service reads and the README tells of", () => {
    expect(named.length).toBeGreaterThan(20);
    const unknown = named.filter(({ name }) => !read.includes(`"${name}"`) || !isDocumented(name));
    // Kubernetes' own, which it is told not to set.
    expect(unknown.filter(({ name }) => name !== "SESSIONS_PORT")).toEqual([]);
    expect(pod.enableServiceLinks).toBe(false);
  });

  it("can be used together, as each kind of place sets them", async () => {
    const folder = await temporaryFolder();
    const adminKey = join(folder, "admin-key");
    await writeFile(adminKey, "a secret of thirty-two characters");
    const { certificate, key } = await layTlsFiles(folder, await (await createAuthority()).issue("server"));
    // What Kubernetes and Docker lay where these variables say, here laid elsewhere.
    const elsewhere: Record<string, string> = {
      SESSIONS_ADMIN_KEY_FILE: adminKey,
      SESSIONS_TLS_CERT_FILE: certificate,
      SESSIONS_TLS_KEY_FILE: key,
    };
    const inKubernetes = { MONGODB_URI: "mongodb://db.example/?replicaSet=rs0", ...literalsOf(kustomization) };
    for (const [settings, isEncrypted] of [
      [compose.services.sessions.environment, false],
      [inKubernetes, false],
      [{ ...inKubernetes, ...literalsOf(tls) }, true],
    ] as const) {
      const all = Object.entries({ ...settingsOfImage, ...settings });
      const config = readConfig(
        Object.fromEntries(all.map(([name, value]) => [name, elsewhere[name] ?? value])),
        false,
      );
      expect(config).toMatchObject({ grpcListen: { host: "0.0.0.0" }, httpListen: { host: "0.0.0.0" } });
      expect(config.auth?.keys?.adminKey).toBeDefined();
      expect(config.tls !== undefined).toBe(isEncrypted);
    }
    expect(settingsOfImage.NODE_ENV).toBe("production");
  });

  it("name secrets where they are laid", () => {
    const [secret = ""] = Object.keys(compose.secrets);
    expect(compose.services.sessions.environment.SESSIONS_ADMIN_KEY_FILE).toBe(`/run/secrets/${secret}`);
    const laid = pod.volumes.flatMap(({ name, secret: { items } }) =>
      items.map(({ path }) => join(container.volumeMounts.find((mount) => mount.name === name)?.mountPath ?? "", path)),
    );
    expect(laid).toEqual([literalsOf(kustomization).SESSIONS_ADMIN_KEY_FILE]);
  });
});

describe("ports and paths", () => {
  it("are those that the service listens on", () => {
    expect(only("EXPOSE").split(" ").map(Number)).toEqual([GRPC, HTTP]);
    expect(compose.services.sessions.ports).toEqual([`127.0.0.1:${GRPC}:${GRPC}`, `127.0.0.1:${HTTP}:${HTTP}`]);
    expect(container.ports).toEqual([
      { name: "grpc", containerPort: GRPC },
      { name: "http", containerPort: HTTP },
    ]);
    const services = yamls<{ spec: { ports: { name: string; port: number; targetPort: string }[] } }>(
      `${KUBERNETES}/service.yaml`,
    ).flatMap(({ spec }) => spec.ports);
    expect(services).toHaveLength(3);
    for (const { name, port, targetPort } of services) {
      expect({ port, targetPort }).toEqual({ port: name === "grpc" ? GRPC : HTTP, targetPort: name });
    }
    expect(deployment.spec.template.metadata.annotations).toMatchObject({
      "prometheus.io/port": String(HTTP),
      "prometheus.io/path": "/metrics",
    });
  });

  it("are asked for life and readiness, each for what it says", () => {
    const life = { httpGet: { path: "/healthz", port: "http" } };
    const readiness = { httpGet: { path: "/readyz", port: "http" } };
    expect(container).toMatchObject({ startupProbe: life, livenessProbe: life, readinessProbe: readiness });
    expect(only("HEALTHCHECK")).toContain('CMD ["node", "deploy/healthcheck.js", "/healthz"]');
    expect(compose.services.sessions.healthcheck.test).toEqual(["CMD", "node", "deploy/healthcheck.js", "/readyz"]);
  });
});

describe("the image", () => {
  it("runs what npm start runs, so that a signal reaches it", () => {
    const command = JSON.parse(only("ENTRYPOINT")) as string[];
    expect(`exec ${command.join(" ")}`).toBe(manifest.scripts.start);
    expect(only("STOPSIGNAL")).toBe("SIGTERM");
  });

  it("is made of files that are there and that reach the builder", () => {
    const sent = text(".dockerignore");
    const copied = instructions(DOCKERFILE)
      .filter(({ keyword, rest }) => keyword === "COPY" && !rest.startsWith("--from="))
      .flatMap(({ rest }) => rest.split(" ").slice(0, -1));
    expect(copied).toContain("src");
    expect(copied.filter((path) => !existsSync(path) || !sent.includes(`\n!${path}\n`))).toEqual([]);
    expect(sent.split("\n")).toContain("*");
  });

  it("has the version of the package, and a Node that the package takes", () => {
    expect(only("ARG")).toBe(`VERSION=${manifest.version}`);
    expect(compose.services.sessions.image).toBe(`sessions:${manifest.version}`);
    expect(kustomization.images[0].newTag).toBe(manifest.version);
    const [, major, minor] = /^FROM node:(\d+)\.(\d+)\.\d+-\w+-slim AS base$/m.exec(text(DOCKERFILE)) ?? [];
    const [, leastMajor, leastMinor] = /^>=(\d+)\.(\d+)$/.exec(manifest.engines.node) ?? [];
    expect(major).toBe(leastMajor);
    expect(Number(minor)).toBeGreaterThanOrEqual(Number(leastMinor));
  });

  it("is run by the same unprivileged user everywhere", () => {
    const { runAsUser, runAsGroup, fsGroup } = pod.securityContext;
    expect(only("USER")).toBe(`${runAsUser}:${runAsGroup}`);
    expect(fsGroup).toBe(runAsGroup);
    expect(runAsUser).toBeGreaterThan(0);
  });
});

/** What a stop takes when the grace is over: the last answers, the database, and traces that a collector does not take. */
const LAST_STEPS_S = 3;

it("leaves a stopping service the time that it was given", () => {
  const { environment, stop_grace_period } = compose.services.sessions;
  expect(seconds(stop_grace_period)).toBeGreaterThan(seconds(environment.SESSIONS_SHUTDOWN_GRACE) + LAST_STEPS_S);
  const { preStop } = container.lifecycle;
  const grace = seconds(literalsOf(kustomization).SESSIONS_SHUTDOWN_GRACE);
  expect(pod.terminationGracePeriodSeconds).toBeGreaterThan(preStop.sleep.seconds + grace + LAST_STEPS_S);
});

it("has the database let go of what a dead process held, as the README advises", () => {
  expect(compose.services.mongodb.command).toContain("transactionLifetimeLimitSeconds=10");
});
