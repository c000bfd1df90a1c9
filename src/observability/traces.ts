import {
  type Attributes,
  type Context,
  context,
  DiagLogLevel,
  diag,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TextMapGetter,
  type Tracer,
  trace,
} from "@opentelemetry/api";
import { core, NodeSDK, resources } from "@opentelemetry/sdk-node";
import type { Logger } from "pino";
import type { Command, FollowedCall, Place, Traces } from "../domain/traces.js";

/**
 * Traces by OpenTelemetry, set up by its own variables, which its SDK reads. This file, and the SDK with it, is loaded only where they are
 * wanted.
 *
 * The attributes are those of version 1.45 of the semantic conventions (https://opentelemetry.io/docs/specs/semconv/), but for those that tell
 * who calls from where, and of HTTP `url.path`, for it has ids in it: a span has no id of a session, a user or a key. The line of the
 * log that has the same trace id has what operators may see.
 */
export interface RunningTraces extends Traces {
  /** What tells a line of the log as one of the call that is run. */
  ids(): { readonly trace_id?: string; readonly span_id?: string };
  /** Has what is left exported, unless that takes too long. */
  stop(): Promise<void>;
}

/** How long what is left may take at a stop: a collector may be away. */
const FLUSH_MS = 2_000;

/** Undefined when the SDK cannot be started, which is told: a service without traces is better than none. */
export function startTraces(log: Logger, graceMs: number): RunningTraces | undefined {
  try {
    const sdk = startSdk(log);
    return {
      ...createTraces(trace.getTracer("sessions")),
      ids() {
        const active = trace.getActiveSpan()?.spanContext();
        return active ? { trace_id: active.traceId, span_id: active.spanId } : {};
      },
      stop: () => inTime(sdk.shutdown(), Math.min(graceMs, FLUSH_MS)),
    };
  } catch (error) {
    log.warn({ cause: withoutSecrets(String(error)) }, "traces could not be started; the service goes on without them");
    return undefined;
  }
}

/** It reads the environment. Of all that it could do it is to export traces, whatever else that asks for. */
function startSdk(log: Logger): NodeSDK {
  const sdk = new NodeSDK({
    resource: resources.defaultResource().merge(resources.resourceFromAttributes({ "service.name": "sessions" })),
    metricReaders: [],
    logRecordProcessors: [],
  });
  let isStarting = true;
  let hasFailed = false;
  // What it says of itself is no part of the call after which it happens to say it.
  const debug = (message: string) => context.with(ROOT_CONTEXT, () => log.debug(withoutSecrets(message)));
  const warn = (message: string) => context.with(ROOT_CONTEXT, () => log.warn(withoutSecrets(message)));
  const complain = (message: string) => (isStarting ? warn(message) : debug(message));
  // In place of its own, which writes to the console, and which it has set if it has been told a level.
  diag.setLogger(
    { error: complain, warn: complain, info: debug, debug, verbose: () => {} },
    { logLevel: DiagLogLevel.INFO, suppressOverrideMessage: true },
  );
  core.setGlobalErrorHandler((error) => {
    const cause = error instanceof Error ? error.message || error.name : String(error);
    const told = `traces could not be exported: ${cause}`;
    if (hasFailed) debug(told);
    else warn(`${told}; attempts go on, and the next failures are told at the level debug`);
    hasFailed = true;
  });
  sdk.start();
  isStarting = false;
  return sdk;
}

/** What it has against its variables repeats them, and a URL can have a password in it. */
function withoutSecrets(message: string): string {
  return message.replace(/\/\/[^/@\s]*@/g, "//");
}

function createTraces(tracer: Tracer): Traces {
  return {
    call(call) {
      const parent = propagation.extract(ROOT_CONTEXT, call, HEADERS);
      const { name, attributes, outcome } = described(call);
      const span = tracer.startSpan(name, { kind: SpanKind.SERVER, attributes }, parent);
      const own = trace.setSpan(parent, span);
      return {
        run: (act) => context.with(own, act),
        end(code) {
          const { attributes, error } = outcome(code);
          span.setAttributes(attributes);
          if (error !== undefined) fail(span, error);
          span.end();
        },
      };
    },

    join(work) {
      const active = recording();
      return active && placeOf(tracer.startSpan(work, {}, active), active);
    },

    async together(work, places, run) {
      const members = places.filter((place) => place !== undefined) as TracedPlace[];
      const [first] = members;
      // Whoever's turn of the event loop this is, it need not be one of those that have joined.
      if (!first) return context.with(ROOT_CONTEXT, run);
      const others = members.slice(1);
      const span = tracer.startSpan(
        `${work} (group)`,
        { attributes: { "sessions.group.size": places.length }, links: others.map(({ span }) => linkTo(span)) },
        first.context,
      );
      for (const member of members) member.span.addLink(linkTo(span));
      try {
        return await context.with(trace.setSpan(first.context, span), run);
      } catch (error) {
        fail(span, kindOf(error));
        throw error;
      } finally {
        span.end();
      }
    },

    command(command) {
      const active = recording();
      if (!active) return undefined;
      const span = tracer.startSpan(
        `${command.name} ${command.collection ?? command.database}`,
        { kind: SpanKind.CLIENT, attributes: commandAttributes(command) },
        active,
      );
      return (failure) => {
        if (failure !== undefined) {
          const { code } = failure as { code?: unknown };
          if (typeof code === "number") span.setAttribute("db.response.status_code", String(code));
          fail(span, kindOf(failure));
        }
        span.end();
      };
    },
  };
}

interface TracedPlace extends Place {
  readonly span: Span;
  readonly context: Context;
}

function placeOf(span: Span, active: Context): TracedPlace {
  const own = trace.setSpan(active, span);
  const leave = (): void => {
    // Who had no turn in time leaves before what is done for them is over.
    if (span.isRecording()) span.end();
  };
  return { span, context: own, run: (act) => context.with(own, act), leave };
}

const linkTo = (span: Span) => ({ context: span.spanContext() });

/**
 * What is run now, if it is something that is followed and not over: what a call has set going in the background is not a part of it any more
 * when it has been answered.
 */
function recording(): Context | undefined {
  const active = context.active();
  return trace.getSpan(active)?.isRecording() ? active : undefined;
}

/** The message of an error may hold what a caller has sent: what kind of error it is has to do. */
function fail(span: Span, kind: string): void {
  span.setAttribute("error.type", kind);
  span.setStatus({ code: SpanStatusCode.ERROR });
}

function kindOf(error: unknown): string {
  const { code, name } = error as { code?: unknown; name?: unknown };
  return typeof code === "string" || typeof code === "number" ? String(code) : String(name);
}

interface Description {
  readonly name: string;
  readonly attributes: Attributes;
  /** What the outcome adds, and what went wrong, if it is this service that went wrong. */
  outcome(code: string): { readonly attributes: Attributes; readonly error: string | undefined };
}

/** The codes that are a server's failures, by the conventions; all others are its answers. */
const FAILURES: ReadonlySet<string> = new Set([
  "UNKNOWN",
  "DEADLINE_EXCEEDED",
  "UNIMPLEMENTED",
  "INTERNAL",
  "UNAVAILABLE",
  "DATA_LOSS",
]);

function described({ path, protocol }: FollowedCall): Description {
  if (typeof protocol === "object") {
    const { method, route } = protocol;
    return {
      name: `${method} ${route}`,
      attributes: { "http.request.method": method, "http.route": route },
      outcome(code) {
        const status = protocol.status(code);
        return {
          attributes: { "http.response.status_code": status },
          error: status >= 500 ? String(status) : undefined,
        };
      },
    };
  }
  const isConnect = protocol === "connect";
  const method = path.slice(1);
  return {
    name: method,
    attributes: { "rpc.system.name": isConnect ? "connectrpc" : "grpc", "rpc.method": method },
    outcome(code) {
      const told = isConnect ? connectCode(code) : code;
      return { attributes: { "rpc.status_code": told }, error: FAILURES.has(code) ? told : undefined };
    },
  };
}

/** As Connect spells it. */
function connectCode(code: string): string {
  return code === "OK" ? code : code === "CANCELLED" ? "canceled" : code.toLowerCase();
}

function commandAttributes({ name, database, collection, address }: Command): Attributes {
  const [, host = address, port] = /^(.*):(\d+)$/.exec(address) ?? [];
  return {
    "db.system.name": "mongodb",
    "db.operation.name": name,
    "db.namespace": database,
    ...(collection !== undefined && { "db.collection.name": collection }),
    "server.address": host,
    ...(port !== undefined && { "server.port": Number(port) }),
  };
}

const HEADERS: TextMapGetter<FollowedCall> = {
  get: (call, name) => call.header(name),
  // Only for baggage in headers of any name, which goes no further from here.
  keys: () => [],
};

async function inTime(done: Promise<unknown>, withinMs: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, withinMs);
  });
  // What could not be exported has been told.
  await Promise.race([done.catch(() => {}), late]);
  clearTimeout(timer);
}
