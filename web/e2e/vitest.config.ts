import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["e2e/**/*.e2e.ts"],
    globalSetup: ["e2e/server.ts"],
    // One browser and one server share two cores: files run one after the other.
    fileParallelism: false,
    // A busy machine is no failure; what must be quick says so itself.
    expect: { poll: { timeout: 5_000 } },
    testTimeout: 60_000,
    hookTimeout: 90_000,
  },
});
