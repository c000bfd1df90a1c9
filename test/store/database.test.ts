import { expect, inject, it, onTestFinished } from "vitest";
import { openDatabase } from "../../src/store/database.js";
import { startProxy } from "../support/proxy.js";

it("tells the database's time no worse after an answer that took long", async () => {
  const proxy = await startProxy(inject("mongodbUri"));
  onTestFinished(proxy.stop);
  const database = openDatabase({ uri: proxy.uri, database: "test-clock" });
  onTestFinished(() => database.close());
  // The same machine's clock, so what the first few say may only be off by half of what the quickest of them took.
  for (let n = 0; n < 5; n++) await database.ping();
  proxy.delayMs = 1_500;
  await database.ping();
  expect(Math.abs(database.now().getTime() - Date.now())).toBeLessThan(500);
});
