import { defineConfig } from "vitest/config";

// vitest reads the default export of this file; nowhere else is there one.
// biome-ignore lint/style/noDefaultExport: see above
export default defineConfig({
  test: {
    include: ["test/faults/**/*.test.ts"],
    globalSetup: ["test/support/global-setup.ts"],
    // Two files at a time: each brings processes of its own, and more would only measure how they starve one another.
    maxWorkers: 2,
    testTimeout: 300_000,
    hookTimeout: 300_000,
    teardownTimeout: 30_000,
  },
});
