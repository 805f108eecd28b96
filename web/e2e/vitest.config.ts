import { configDefaults, defineConfig } from "vitest/config";

const ALL = "e2e/**/*.e2e.ts";
/** It stops the server's stores, so it has a server of its own, after the others. */
const FAILURE = "e2e/failure.e2e.ts";

export default defineConfig({
  test: {
    // The files share one server. A test waits more than it works, so two at once fit two cores.
    maxWorkers: 2,
    // A busy machine is no failure; what must be quick says so itself.
    expect: { poll: { timeout: 5_000 } },
    testTimeout: 60_000,
    hookTimeout: 90_000,
    projects: [
      { extends: true, test: { name: "pages", include: [ALL], exclude: [...configDefaults.exclude, FAILURE], globalSetup: ["e2e/server.ts"], sequence: { groupOrder: 0 } } },
      { extends: true, test: { name: "failure", include: [FAILURE], globalSetup: ["e2e/server.ts"], sequence: { groupOrder: 1 } } },
    ],
  },
});
