import { availableParallelism } from "node:os";
import { configDefaults, defineConfig } from "vitest/config";

// vitest reads the default export of this file; nowhere else is there one.
// biome-ignore lint/style/noDefaultExport: see above
export default defineConfig({
  test: {
    include: ["test/**/*.test.ts"],
    // They take minutes: npm run test:faults.
    exclude: [...configDefaults.exclude, "test/faults/**"],
    globalSetup: ["test/support/global-setup.ts"],
    // By default one less than there are cores: on two of them one, which mostly waits for the database.
    maxWorkers: Math.max(2, availableParallelism() - 1),
    // Generous, for a machine that runs the database, the service and all test files on two cores.
    testTimeout: 300_000,
    hookTimeout: 300_000,
    teardownTimeout: 30_000,
  },
});
