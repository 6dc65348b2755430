import type { Backend } from './backend.ts';

/** A backend that takes `factor` times as long for every step: tests play a slow device with it (`&emulate=slow:3`). */
export function slowBackend(backend: Backend, factor: number): Backend {
  if (factor === 1) return backend;
  const run: Backend['run'] = async (step) => {
    const started = performance.now();
    const result = await backend.run(step);
    const rest = (factor - 1) * (performance.now() - started);
    await new Promise((resolve) => setTimeout(resolve, rest));
    return result;
  };
  return new Proxy(backend, { get: (target, name) => (name === 'run' ? run : Reflect.get(target, name, target)) });
}
