/** Listeners by event name, typed: `{ name: detail }`. */
export interface Emitter<Events> {
  /** Returns the function that takes the listener away. */
  on<K extends keyof Events>(name: K, listener: (detail: Events[K]) => void): () => void;
  emit<K extends keyof Events>(name: K, detail: Events[K]): void;
}

export function createEmitter<Events>(): Emitter<Events> {
  const listeners = new Map<keyof Events, Set<(detail: never) => void>>();
  return {
    on(name, listener) {
      const set = listeners.get(name) ?? new Set();
      listeners.set(name, set.add(listener));
      return () => set.delete(listener);
    },
    emit(name, detail) {
      for (const listener of listeners.get(name) ?? []) (listener as (detail: Events[typeof name]) => void)(detail);
    },
  };
}
