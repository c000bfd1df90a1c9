import { readFileSync } from "node:fs";
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { FileDescriptorProtoSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { status as codes, type Server, type UntypedServiceImplementation } from "@grpc/grpc-js";
import { ReflectionService } from "@grpc/reflection";
import { HealthImplementation } from "grpc-health-check";
import { shuttingDown } from "../domain/errors.js";
import { toStatus } from "./status.js";

/** The health service and server reflection, for probes and for tools such as grpcurl. */
export interface StandardServices {
  addTo(server: Server): void;
  setServing(serving: boolean): void;
  /** Ends the open streams (health watches, reflection), which would keep the server from stopping. */
  endStreams(): void;
}

/** `descriptors` are files that `npm run generate` makes from protos, those of the stubs among them. */
export function createStandardServices(serviceNames: readonly string[], descriptors: readonly URL[]): StandardServices {
  const health = new HealthImplementation();
  const names = ["", ...serviceNames];
  const open = new Set<OpenStream>();
  const setServing = (serving: boolean): void => {
    for (const name of names) health.setStatus(name, serving ? "SERVING" : "NOT_SERVING");
  };
  setServing(false);
  return {
    addTo(server) {
      const tracking = {
        addService: ((definition, implementation) =>
          server.addService(definition, tracked(implementation, open))) as Server["addService"],
      };
      health.addToServer(tracking as Server);
      new ReflectionService(reflected(descriptors)).addToServer(tracking);
    },
    setServing,
    endStreams() {
      for (const stream of open) stream.emit("error", { ...toStatus(shuttingDown(), ""), code: codes.UNAVAILABLE });
    },
  };
}

/**
 * All that reflection tells, in the shape that its library takes. The files go in as they are: loading them as a package
 * definition would merge those of one package into one, and lose what no method refers to.
 */
function reflected(descriptors: readonly URL[]): Reflected {
  const files = descriptors.flatMap((url) => fromBinary(FileDescriptorSetSchema, readFileSync(url)).file);
  const fileDescriptorProtos = files.map((file) => Buffer.from(toBinary(FileDescriptorProtoSchema, file)));
  const all = { format: "Protocol Buffer 3 DescriptorProto", type: {}, fileDescriptorProtos };
  return { all: all as unknown as Reflected[string] };
}

type Reflected = ConstructorParameters<typeof ReflectionService>[0];

interface OpenStream {
  emit(event: "error", status: object): unknown;
  once(event: string, listener: () => void): unknown;
}

/** The same handlers, with each stream noted while it is open. */
function tracked(implementation: UntypedServiceImplementation, open: Set<OpenStream>): UntypedServiceImplementation {
  return Object.fromEntries(
    Object.entries(implementation).map(([name, handler]) => [
      name,
      (call: OpenStream & { write?: unknown }, ...rest: unknown[]) => {
        if (call.write) {
          open.add(call);
          for (const event of ["cancelled", "finish", "close"]) call.once(event, () => open.delete(call));
        }
        (handler as (...args: unknown[]) => void)(call, ...rest);
      },
    ]),
  );
}
