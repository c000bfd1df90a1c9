import { collectDefaultMetrics, Registry } from "prom-client";

/**
 * Figures of the process as every Node process has them: CPU, memory, file descriptors, garbage collection, event loop. Once a process,
 * for what watches the event loop and the garbage collection is never taken away.
 */
export function createProcessMetrics(): Registry {
  const register = new Registry();
  collectDefaultMetrics({ register });
  return register;
}
