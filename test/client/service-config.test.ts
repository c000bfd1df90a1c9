import { readFileSync } from "node:fs";
import { Client, credentials } from "@grpc/grpc-js";
import { describe, expect, it, onTestFinished, test } from "vitest";
import {
  GetSessionRequest,
  type GetSessionResponse,
  SessionServiceService,
} from "../../gen/sessions/v1/session_service.js";
import { createClient, serviceConfig } from "../../src/client/index.js";
import { EVERY_METHOD } from "../support/every-method.js";
import { FOREIGN_CLIENTS, goProgram } from "../support/foreign-clients.js";
import { startService, type TestService } from "../support/service.js";

/** What clients of other languages are told. */

const TEXT = readFileSync(new URL("../../proto/sessions/v1/service_config.json", import.meta.url), "utf8");

test("what is shipped beside the protos is what the client follows", () => {
  expect(JSON.parse(TEXT)).toEqual(serviceConfig);
  const client = createClient();
  onTestFinished(() => client.close());
  expect(client.serviceConfig).toBe(serviceConfig);
});

const configOf = (method: string) =>
  serviceConfig.methodConfig.find(({ name }) => name.some((one) => one.method === method));

test("every method has a config, and one alone", () => {
  const named = serviceConfig.methodConfig.flatMap(({ name }) =>
    name.map(({ service, method }) => `/${service}/${method}`),
  );
  expect(named.sort()).toEqual(EVERY_METHOD.map(({ path }) => path).sort());
});

test("what could be done twice, or has another answer then, is not tried again after UNAVAILABLE", () => {
  for (const method of ["AddMemory", "CreateSession", "UpdateSession", "DeleteSession", "ClearMemory", "CreateKey"]) {
    expect(configOf(method)?.retryPolicy.retryableStatusCodes, method).toEqual(["RESOURCE_EXHAUSTED"]);
  }
  for (const method of ["GetSession", "GetMemory", "ListSessions", "SetSummary", "RevokeKey"]) {
    expect(configOf(method)?.retryPolicy.retryableStatusCodes, method).toContain("UNAVAILABLE");
  }
});

test("calls are bounded in time but for those whose work grows with what is stored", () => {
  expect(configOf("AddMemory")?.timeout).toBe("10s");
  for (const method of ["ListMessages", "DeleteUser", "PurgeDeleted"]) {
    expect(configOf(method)?.timeout, method).toBeUndefined();
  }
});

/** A service that takes one call a second, and has just taken it. */
async function startBusy(): Promise<TestService> {
  const service = await startService({ projectRate: 1 });
  onTestFinished(() => service.stop());
  await service.sessions.createSession({ sessionId: "s" });
  return service;
}

describe("a client that is given it comes back when the service has said", () => {
  it("grpc-js", async () => {
    const service = await startBusy();
    const client = new Client(service.address, credentials.createInsecure(), { "grpc.service_config": TEXT });
    onTestFinished(() => client.close());
    const { path, requestSerialize, responseDeserialize } = SessionServiceService.getSession;
    const request = GetSessionRequest.fromPartial({ sessionId: "s" });
    const answer = new Promise<GetSessionResponse | undefined>((resolve, reject) => {
      client.makeUnaryRequest(path, requestSerialize, responseDeserialize, request, (error, response) =>
        error ? reject(error) : resolve(response),
      );
    });
    expect(await answer).toMatchObject({ session: { sessionId: "s" } });
  });

  it.runIf(FOREIGN_CLIENTS)(
    "grpc-go, which then needs no third try",
    async () => {
      const call = await goProgram(GO_CLIENT);
      const tried = async () => call((await startBusy()).address, TEXT);
      let outcome = await tried();
      // On a slow machine it may take a second to begin, and then it has not been refused.
      for (let again = 0; again < 5 && outcome.stdout === "OK at try 1\n"; again++) outcome = await tried();
      expect(outcome).toEqual({ code: 0, stdout: "OK at try 2\n", stderr: "" });
    },
    1_200_000,
  );
});

/** Gets the session `s`, with a request and a response that it leaves as bytes. */
const GO_CLIENT = `package main

import (
	"context"
	"fmt"
	"os"
	"sync/atomic"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	_ "google.golang.org/grpc/health"
	"google.golang.org/grpc/stats"
	"google.golang.org/grpc/status"
)

type bytes struct{}

func (bytes) Marshal(v any) ([]byte, error)      { return *v.(*[]byte), nil }
func (bytes) Unmarshal(data []byte, v any) error { *v.(*[]byte) = append([]byte(nil), data...); return nil }
func (bytes) Name() string                       { return "proto" }

const method = "/sessions.v1.SessionService/GetSession"

type called struct{}

type tries struct{ count atomic.Int32 }

func (t *tries) TagRPC(ctx context.Context, info *stats.RPCTagInfo) context.Context {
	return context.WithValue(ctx, called{}, info.FullMethodName)
}

func (t *tries) HandleRPC(ctx context.Context, event stats.RPCStats) {
	if _, ok := event.(*stats.Begin); ok && ctx.Value(called{}) == method {
		t.count.Add(1)
	}
}

func (t *tries) TagConn(ctx context.Context, _ *stats.ConnTagInfo) context.Context { return ctx }
func (t *tries) HandleConn(context.Context, stats.ConnStats)                       {}

func main() {
	counted := &tries{}
	connection, err := grpc.NewClient(os.Args[1],
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(os.Args[2]),
		grpc.WithStatsHandler(counted),
	)
	if err != nil {
		panic(err)
	}
	request, response := []byte("\\x0a\\x01s"), []byte{}
	err = connection.Invoke(context.Background(), method, &request, &response, grpc.ForceCodec(bytes{}))
	fmt.Printf("%v at try %d\\n", status.Code(err), counted.count.Load())
}
`;
