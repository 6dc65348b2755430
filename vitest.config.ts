import { defineConfig } from 'vitest/config';

export default defineConfig({
  test: {
    include: ['tests/unit/**/*.test.ts', 'tests/kernels/**/*.test.ts', 'tests/bench/*.test.ts'],
    testTimeout: 60_000,
    // Node 20 has relaxed SIMD behind this flag; later versions take it silently.
    execArgv: ['--experimental-wasm-relaxed-simd'],
  },
});
