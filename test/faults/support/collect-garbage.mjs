/**
 * Loaded into a service process before its own code: on SIGUSR2 the process collects its garbage and logs how much memory it
 * then still holds, as one more line of its log. What the system counts does not tell, for collectors take their time.
 */
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc");

process.on("SIGUSR2", () => {
  // What the first round frees of objects that own memory outside the heap, the second finds gone.
  collect();
  collect();
  const { heapUsed, external } = process.memoryUsage();
  process.stdout.write(`${JSON.stringify({ level: 30, msg: "memory held", bytes: heapUsed + external })}\n`);
});
