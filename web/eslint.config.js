import js from "@eslint/js";
import lit from "eslint-plugin-lit";
import ts from "typescript-eslint";

export default ts.config(
  { ignores: ["dist", "dist-storefront", "src/wasm", "test-results", "shots/shoot.mjs", "figures", "packages", "packages-out", "examples", "compress.mjs"] },
  js.configs.recommended,
  ...ts.configs.strict,
  lit.configs["flat/recommended"],
  {
    languageOptions: { parserOptions: { projectService: { allowDefaultProject: ["*.js"] } } },
    rules: {
      // A promise that nobody waits for swallows its error.
      "@typescript-eslint/no-floating-promises": "error",
      "@typescript-eslint/no-misused-promises": ["error", { checksVoidReturn: false }],
      "no-console": "error",
      // French has a narrow space before some of its marks; in strings the rule allows that by itself.
      "no-irregular-whitespace": ["error", { skipTemplates: true }],
    },
  },
);
