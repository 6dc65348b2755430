import { fileURLToPath } from 'node:url';
import { defineConfig } from 'vite';
import { serveDataFrom } from './scripts/vite-data.ts';
import { DEFAULT_MODELS_DIR } from './signaling-server/options.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));

/** SharedArrayBuffer, and so WASM threads, exist only on cross-origin isolated pages. */
const isolation = {
  'Cross-Origin-Opener-Policy': 'same-origin',
  'Cross-Origin-Embedder-Policy': 'require-corp',
  'Cross-Origin-Resource-Policy': 'same-origin',
};

export default defineConfig({
  root: here('web'),
  publicDir: here('public'),
  plugins: [serveDataFrom(process.env.MODELS_DIR || DEFAULT_MODELS_DIR)],
  build: {
    outDir: here('dist'),
    emptyOutDir: true,
    target: 'esnext',
    assetsInlineLimit: 0,
    rollupOptions: { input: { index: here('web/index.html'), host: here('web/host.html') } },
  },
  worker: { format: 'es' },
  server: { headers: isolation, fs: { allow: [here('.')] } },
  preview: { headers: isolation },
});
