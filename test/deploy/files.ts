import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { parseAllDocuments, parse as parseYaml } from "yaml";

/** What is in `deploy/`, as far as the tests look at it. */

export const COMPOSE = "deploy/compose.yaml";
export const DOCKERFILE = "deploy/Dockerfile";
export const KUBERNETES = "deploy/kubernetes";

export const text = (path: string): string => readFileSync(path, "utf8");

export const yaml = <T>(path: string): T => parseYaml(text(path)) as T;

export const yamls = <T>(path: string): T[] => parseAllDocuments(text(path)).map((one) => one.toJS() as T);

/** Every file of a folder and those in it. */
export function filesIn(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}

/** One instruction of a Dockerfile, its lines joined and its comments gone. */
export interface Instruction {
  readonly keyword: string;
  readonly rest: string;
}

export function instructions(path: string): Instruction[] {
  const joined = text(path)
    .replace(/^\s*#.*\n/gm, "")
    .replace(/\\\n/g, "");
  return joined
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => {
      const [, keyword = "", rest = ""] = /^(\S+)\s+(.*)$/.exec(line) ?? [];
      return { keyword, rest };
    });
}

/** What a stage sets for its processes. */
export function environmentOf(stage: readonly Instruction[]): Record<string, string> {
  const pairs = stage.filter(({ keyword }) => keyword === "ENV").flatMap(({ rest }) => rest.trim().split(/\s+/));
  return Object.fromEntries(pairs.map((pair) => pair.split("=", 2) as [string, string]));
}

/** The stage that becomes the image. */
export function lastStage(path: string): Instruction[] {
  const all = instructions(path);
  return all.slice(all.findLastIndex(({ keyword }) => keyword === "FROM"));
}

export interface Compose {
  readonly services: Readonly<Record<"sessions" | "mongodb", ComposeService>>;
  readonly secrets: Readonly<Record<string, { readonly file: string }>>;
}

interface ComposeService {
  readonly image: string;
  readonly environment: Readonly<Record<string, string>>;
  readonly ports: readonly string[];
  readonly healthcheck: { readonly test: readonly string[] };
  readonly command: readonly string[];
  readonly stop_grace_period: string;
}

/** As much of a Deployment as the tests look at. */
export interface Deployment {
  readonly spec: {
    readonly replicas: number;
    readonly template: {
      readonly metadata: { readonly annotations: Readonly<Record<string, string>> };
      readonly spec: PodSpec;
    };
  };
}

interface PodSpec {
  readonly terminationGracePeriodSeconds: number;
  readonly enableServiceLinks: boolean;
  readonly securityContext: { readonly runAsUser: number; readonly runAsGroup: number; readonly fsGroup: number };
  readonly containers: readonly [Container];
  readonly volumes: readonly { name: string; secret: { items: readonly { path: string }[] } }[];
}

interface Container {
  readonly ports: readonly { name: string; containerPort: number }[];
  readonly startupProbe: Probe;
  readonly livenessProbe: Probe;
  readonly readinessProbe: Probe;
  readonly lifecycle: { readonly preStop: { readonly sleep: { readonly seconds: number } } };
  readonly volumeMounts: readonly { name: string; mountPath: string }[];
}

interface Probe {
  readonly httpGet: { readonly path: string; readonly port: string };
}

export interface Kustomization {
  readonly images: readonly [{ readonly newTag: string }];
  readonly configMapGenerator: readonly [{ readonly literals: readonly string[] }];
}

export function literalsOf({ configMapGenerator: [{ literals }] }: Kustomization): Record<string, string> {
  return Object.fromEntries(literals.map((literal) => literal.split("=", 2) as [string, string]));
}
