import { readFileSync } from "node:fs";
import { create, createFileRegistry, type DescMethod, type FileRegistry, fromBinary } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { createContextValues } from "@connectrpc/connect";
import { fastifyConnectPlugin } from "@connectrpc/connect-fastify";
import type { FastifyError, FastifyInstance, FastifyRequest } from "fastify";
import type { Logger } from "pino";
import { toAnswer } from "../../calls/answer.js";
import { requestIdOf } from "../../calls/execution.js";
import type { Operation } from "../../calls/operations.js";
import { unknownMethod } from "../../domain/errors.js";
import { type HttpCalls, TurnedAway } from "../calls.js";
import { CONNECT_JSON, dialectOf } from "./dialects.js";
import { connectError } from "./errors.js";
import { badRequest } from "./faults.js";
import { FASTIFY_REQUEST, handlerOf } from "./handler.js";

export interface ConnectOptions {
  readonly operations: readonly Operation[];
  /** Files that describe the API, the same as for reflection. */
  readonly descriptors: readonly URL[];
  readonly calls: HttpCalls;
  readonly log: Logger;
}

/** Every method of the API at `/sessions.v1.SessionService/GetSession`, in the Connect protocol and in gRPC-Web. */
export async function addConnect(
  app: FastifyInstance,
  { operations, descriptors, calls, log }: ConnectOptions,
): Promise<void> {
  const registry = registryOf(descriptors);
  const byPath = new Map(operations.map((operation) => [operation.path, operation]));
  const targetOf = ({ routeOptions: { url = "" } }: FastifyRequest) => byPath.get(url) ?? { path: url, streams: false };

  // Bodies are read by the handlers, whatever they say that they are.
  app.removeAllContentTypeParsers();
  app.addContentTypeParser("*", (_request, _payload, done) => done(null));
  app.addHook("onRequest", async (request, reply) => {
    // The plugin makes a URL of the two, and has no answer when it cannot.
    if (!URL.canParse(request.url, `http://${request.headers.host}`)) throw badRequest("Not a valid path or host.");
    await calls.arrive(request, reply, targetOf(request));
  });
  app.setErrorHandler((error: FastifyError, request, reply) => {
    if (error instanceof TurnedAway) return reply.hijack();
    const requestId = String(reply.getHeader("x-request-id") ?? requestIdOf(request.headers["x-request-id"]));
    const dialect = dialectOf(request.headers["content-type"] ?? "", targetOf(request).streams) ?? CONNECT_JSON;
    const statusOfFastify = fastifyStatus(error);
    const answer = toAnswer(statusOfFastify ? badRequest(`${error.message}.`) : error, requestId);
    if (answer.code === "INTERNAL") log.error({ err: error, request_id: requestId }, "call failed");
    const { status, contentType, body } = dialect.refusal(connectError(answer, registry));
    const isUnknown = answer.code === "UNIMPLEMENTED";
    return reply
      .code(statusOfFastify ?? (isUnknown ? 404 : status))
      .type(contentType)
      .send(Buffer.from(body));
  });
  app.all("/sessions.v1.:service/:method", (request) => {
    throw unknownMethod(request.url.slice(1));
  });

  await app.register(fastifyConnectPlugin, {
    routes(router) {
      for (const operation of operations) {
        router.handlers.push(handlerOf(operation, methodOf(operation, registry), { calls, registry }));
      }
    },
    contextValues: (request) => createContextValues().set(FASTIFY_REQUEST, request),
  });
}

/** Undefined when it is not fastify itself that has found something wrong with a request. */
function fastifyStatus({ code = "", statusCode = 500 }: FastifyError): number | undefined {
  return code.startsWith("FST_") && statusCode < 500 ? statusCode : undefined;
}

function registryOf(descriptors: readonly URL[]): FileRegistry {
  const files = descriptors.flatMap((url) => fromBinary(FileDescriptorSetSchema, readFileSync(url)).file);
  // More than one of them has those that all refer to.
  const file = [...new Map(files.map((one) => [one.name, one])).values()];
  return createFileRegistry(create(FileDescriptorSetSchema, { file }));
}

function methodOf({ path }: Operation, registry: FileRegistry): DescMethod {
  const [, service = "", name] = path.split("/");
  const method = registry.getService(service)?.methods.find((one) => one.name === name);
  if (!method) throw new Error(`the descriptors do not have ${path}`);
  return method;
}
