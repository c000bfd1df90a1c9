import { METHODS, type UnaryName } from "./methods.js";
import { always, POLICIES } from "./policies.js";
import { DEFAULT_DEADLINE_MS, DEFAULT_RETRIES } from "./retries.js";

/** What gRPC has clients of any language be told by their service, as the JSON form of `grpc.service_config.ServiceConfig`. */
export interface ServiceConfig {
  readonly loadBalancingConfig: readonly { readonly round_robin: Record<string, never> }[];
  readonly healthCheckConfig: { readonly serviceName: string };
  readonly methodConfig: readonly MethodConfig[];
}

export interface MethodConfig {
  readonly name: readonly { readonly service: string; readonly method: string }[];
  /** Of the whole call, retries included. Unset: as long as its caller waits. */
  readonly timeout?: string;
  readonly retryPolicy: {
    readonly maxAttempts: number;
    readonly initialBackoff: string;
    readonly maxBackoff: string;
    readonly backoffMultiplier: number;
    readonly retryableStatusCodes: readonly string[];
  };
}

type Name = keyof typeof METHODS;

/** Listings: gRPC tries them again as long as nothing has come of them. */
const STREAM = { retries: always, unbounded: true } as const;

/** More than this gRPC takes as this. */
const MAX_ATTEMPTS = 5;

const seconds = (ms: number): string => `${ms / 1_000}s`;

/**
 * The policies of this client, as far as a config can say them: it knows methods, and not what is in a request. So what is tried again
 * depending on its request (an addMemory whose messages have ids, a merge) is not tried again after UNAVAILABLE here, which leaves open
 * what was done. After RESOURCE_EXHAUSTED, nothing was done, all are. The service says with `grpc-retry-pushback-ms` when, or that it
 * is of no use. `proto/sessions/v1/service_config.json` is the same.
 */
export const serviceConfig: ServiceConfig = {
  // Clients look at a service's health under this one only.
  loadBalancingConfig: [{ round_robin: {} }],
  healthCheckConfig: { serviceName: "" },
  methodConfig: grouped(Object.keys(METHODS) as Name[]),
};

/** One config for all methods that have the same. */
function grouped(names: readonly Name[]): MethodConfig[] {
  const groups = new Map<string, Name[]>();
  for (const name of names) {
    const key = JSON.stringify(settingsOf(name));
    groups.set(key, [...(groups.get(key) ?? []), name]);
  }
  return [...groups.values()].map((group) => ({
    name: group.map((name) => {
      const [, service = "", method = ""] = METHODS[name].path.split("/");
      return { service, method };
    }),
    ...settingsOf(group[0] as Name),
  }));
}

function settingsOf(name: Name): Omit<MethodConfig, "name"> {
  const policy = name in POLICIES ? POLICIES[name as UnaryName] : STREAM;
  const isRepeatable = policy.retries === always;
  return {
    ...(!policy.unbounded && { timeout: seconds(DEFAULT_DEADLINE_MS) }),
    retryPolicy: {
      maxAttempts: MAX_ATTEMPTS,
      initialBackoff: seconds(DEFAULT_RETRIES.initialDelayMs),
      maxBackoff: seconds(DEFAULT_RETRIES.maxDelayMs),
      backoffMultiplier: 2,
      retryableStatusCodes: isRepeatable ? ["UNAVAILABLE", "RESOURCE_EXHAUSTED"] : ["RESOURCE_EXHAUSTED"],
    },
  };
}
