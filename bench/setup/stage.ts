import { type Database, openDatabase } from "../../src/store/database.js";
import type { Driver } from "../load/driver.js";
import type { Generator } from "../load/generator.js";
import { type Child, startChild } from "./child.js";
import { type Service, type ServiceOptions, type Settings, startService } from "./service.js";

/** A service over a database of its own, and those who put load on each. */
export interface Stage {
  readonly service: Service;
  /** For the data, which go in past the service. */
  readonly database: Database;
  readonly generator: Child<Generator>;
  readonly driver: Child<Driver>;
  /** Another process of the service over the same data; its caller stops it. */
  startAnother(settings?: Settings): Promise<Service>;
  /** Another load generator, for others than the stage's own service. */
  startGenerator(...addresses: string[]): Promise<Child<Generator>>;
  /** Makes something once for all the rows that need it. */
  once<T>(name: string, make: () => Promise<T>): Promise<T>;
  /** Has something ended together with the stage. */
  onStop(end: () => Promise<void>): void;
  stop(): Promise<void>;
}

/** Workers share out connections, not calls: few connections could all meet the same one. */
const CONNECTIONS_A_WORKER = 4;

export async function openStage(options: ServiceOptions): Promise<Stage> {
  const ends: (() => Promise<unknown>)[] = [];
  const stop = async (): Promise<void> => {
    for (const end of ends.reverse()) await end();
  };
  try {
    const service = await startService(options);
    ends.push(service.stop);
    const database = openDatabase(options);
    ends.push(database.close);
    const { workers = 1 } = options;
    const startGenerator = async (...addresses: string[]): Promise<Child<Generator>> => {
      const generator = startChild<Generator>("generator");
      ends.push(generator.stop);
      await generator.call("connect", addresses, workers === 1 ? 1 : workers * CONNECTIONS_A_WORKER);
      return generator;
    };
    const generator = await startGenerator(service.address);
    const driver = startChild<Driver>("driver");
    ends.push(driver.stop);
    await driver.call("open", options.uri, options.database);

    const made = new Map<string, Promise<unknown>>();
    return {
      service,
      database,
      generator,
      driver,
      startAnother: (settings) => startService({ ...options, settings }),
      startGenerator,
      once<T>(name: string, make: () => Promise<T>) {
        const found = made.get(name) ?? make();
        made.set(name, found);
        return found as Promise<T>;
      },
      onStop: (end) => void ends.push(end),
      stop,
    };
  } catch (error) {
    await stop();
    throw error;
  }
}
