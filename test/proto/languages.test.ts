import { existsSync, readFileSync } from "node:fs";
import { mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { beforeAll, describe, expect, it } from "vitest";
import { FOREIGN_CLIENTS, goModule, goPlugins, protobuf, run } from "../support/foreign-clients.js";
import { temporaryFolder } from "../support/temporary-folder.js";

/** What the protos become in the languages of their callers. */

const here = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));

const ours = fromBinary(FileDescriptorSetSchema, readFileSync(here("gen/descriptors/sessions.binpb"))).file.filter(
  ({ name }) => name.startsWith("sessions/"),
);

it("every file says for each language where its code is to be", () => {
  expect(ours.length).toBeGreaterThan(5);
  for (const { name, options } of ours) {
    const words = name.slice(name.lastIndexOf("/") + 1, -".proto".length).split("_");
    const outer = words.map((word) => word.charAt(0).toUpperCase() + word.slice(1)).join("");
    expect(options, name).toMatchObject({
      csharpNamespace: "Sessions.V1",
      goPackage: "sessions.example/gen/go/sessions/v1;sessionsv1",
      javaMultipleFiles: true,
      javaOuterClassname: `${outer}Proto`,
      javaPackage: "com.sessions.v1",
      objcClassPrefix: "SXX",
      phpMetadataNamespace: "Sessions\\V1\\GPBMetadata",
      phpNamespace: "Sessions\\V1",
      rubyPackage: "Sessions::V1",
    });
  }
});

/** For tools that have to be fetched and built first, on a slow machine. */
const GETTING_MS = 1_200_000;

describe.runIf(FOREIGN_CLIENTS)("code made of the protos", () => {
  let tools: Awaited<ReturnType<typeof protobuf>>;
  beforeAll(async () => {
    tools = await protobuf();
  }, GETTING_MS);

  const includes = ["-I", here("proto"), "-I", here("node_modules/google-proto-files")];
  const files = ours.map(({ name }) => name);

  it(
    "is a Go module of its own, which the protos of others can import",
    async () => {
      const folder = await temporaryFolder();
      const lay = async (name: string, content: string): Promise<void> => {
        await mkdir(join(folder, name, ".."), { recursive: true });
        await writeFile(join(folder, name), content);
      };
      await lay(
        "protos/trips/v1/trips.proto",
        `syntax = "proto3";
package trips.v1;
import "sessions/v1/resources.proto";
option go_package = "trips.example/app/trips/v1;tripsv1";
message Trip { sessions.v1.Session session = 1; }
`,
      );
      await lay("sessions/go.mod", goModule("sessions.example/gen/go"));
      await lay(
        "app/go.mod",
        `${goModule("trips.example/app")}require sessions.example/gen/go v0.0.0\nreplace sessions.example/gen/go => ../sessions\n`,
      );
      await lay(
        "app/main.go",
        `package main

import (
	"fmt"

	sessionsv1 "sessions.example/gen/go/sessions/v1"
	tripsv1 "trips.example/app/trips/v1"
)

var _ = sessionsv1.NewMemoryServiceClient

func main() {
	trip := &tripsv1.Trip{Session: &sessionsv1.Session{SessionId: "trip-42"}}
	fmt.Println(trip.GetSession().GetSessionId())
}
`,
      );

      const plugins = await goPlugins();
      const PATH = `${plugins}:${process.env.PATH}`;
      const generate = async (module: string, into: string, ...of: string[]): Promise<void> => {
        const outputs = ["go", "go-grpc"].flatMap((kind) => [
          `--${kind}_out=${into}`,
          `--${kind}_opt=module=${module}`,
        ]);
        const made = await run(tools.protoc, [...includes, "-I", join(folder, "protos"), ...outputs, ...of], { PATH });
        expect(made).toMatchObject({ code: 0 });
      };
      await generate("sessions.example/gen/go", join(folder, "sessions"), ...files);
      await generate("trips.example/app", join(folder, "app"), "trips/v1/trips.proto");

      for (const module of ["sessions", "app"]) {
        const tidied = await run("go", ["mod", "tidy"], { GOFLAGS: "" }, join(folder, module));
        expect(tidied).toMatchObject({ code: 0 });
      }
      expect(await run("go", ["run", "."], { GOFLAGS: "" }, join(folder, "app"))).toMatchObject({
        code: 0,
        stdout: "trip-42\n",
      });
    },
    GETTING_MS,
  );

  it(
    "has in Java a class for each message, in a package of its own",
    async () => {
      const folder = await temporaryFolder();
      const main = join(folder, "Main.java");
      await writeFile(
        main,
        `import com.sessions.v1.AddMemoryRequest;
import com.sessions.v1.NewMessage;
import com.sessions.v1.RoleType;

class Main {
  public static void main(String[] arguments) {
    NewMessage question = NewMessage.newBuilder().setRoleType(RoleType.ROLE_TYPE_USER).setContent("Where to?").build();
    System.out.println(AddMemoryRequest.newBuilder().addMessages(question).build().getMessages(0).getContent());
  }
}
`,
      );
      expect(await run(tools.protoc, [...includes, `--java_out=${folder}`, ...files])).toMatchObject({ code: 0 });
      const classPath = `${folder}:${tools.javaRuntime}`;
      expect(await run("javac", ["-d", folder, "-cp", classPath, "-sourcepath", folder, main])).toMatchObject({
        code: 0,
      });
      expect(await run("java", ["-cp", classPath, "Main"])).toMatchObject({ code: 0, stdout: "Where to?\n" });
    },
    GETTING_MS,
  );

  it("has the namespaces and prefixes of C#, Objective-C, PHP and Ruby", async () => {
    const folder = await temporaryFolder();
    const outputs = ["csharp", "objc", "php", "ruby"].map((language) => `--${language}_out=${folder}`);
    expect(await run(tools.protoc, [...includes, ...outputs, ...files])).toMatchObject({ code: 0 });
    const text = (name: string): Promise<string> => readFile(join(folder, name), "utf8");
    expect(await text("Resources.cs")).toMatch(/^namespace Sessions\.V1 \{$/m);
    expect(await text("sessions/v1/Resources.pbobjc.h")).toMatch(/@interface SXXSession : GPBMessage/);
    expect(await text("Sessions/V1/Session.php")).toMatch(/^namespace Sessions\\V1;$/m);
    expect(existsSync(join(folder, "Sessions/V1/GPBMetadata/Resources.php"))).toBe(true);
    expect(await text("sessions/v1/resources_pb.rb")).toMatch(/module Sessions\s+module V1\s/);
  });
});
