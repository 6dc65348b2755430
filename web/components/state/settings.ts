/** What the person set, kept in localStorage, checked when read: a value of another version falls back to its default. */
import * as v from 'valibot';
import type { BackendChoice } from '../../api.ts';

export type ThemeChoice = 'auto' | 'light' | 'dark';

/** Bounds of the number fields, for the form and for the check alike. */
export const BOUNDS = {
  temperature: { min: 0, max: 2, step: 0.05 },
  topK: { min: 0, max: 1000, step: 1 },
  topP: { min: 0, max: 1, step: 0.01 },
  minP: { min: 0, max: 1, step: 0.01 },
  repetitionPenalty: { min: 0.5, max: 2, step: 0.01 },
  maxTokens: { min: 1, max: 1_000_000, step: 1 },
  seed: { min: 0, max: 4_294_967_295, step: 1 },
  threads: { min: 1, max: 64, step: 1 },
  context: { min: 64, max: 1_000_000, step: 1 },
} as const;

export type NumberSetting = keyof typeof BOUNDS;

const bounded = (name: NumberSetting) => v.pipe(v.number(), v.minValue(BOUNDS[name].min), v.maxValue(BOUNDS[name].max));
const whole = (name: NumberSetting) => v.pipe(bounded(name), v.integer());

const samplingEntries = {
  systemPrompt: v.fallback(v.string(), ''),
  temperature: v.fallback(bounded('temperature'), 0.7),
  /** 0: every token is a candidate. */
  topK: v.fallback(whole('topK'), 40),
  topP: v.fallback(bounded('topP'), 0.95),
  minP: v.fallback(bounded('minP'), 0.05),
  repetitionPenalty: v.fallback(bounded('repetitionPenalty'), 1.1),
  maxTokens: v.fallback(whole('maxTokens'), 512),
  /** Undefined: another one for every answer. */
  seed: v.fallback(v.optional(whole('seed')), undefined),
};

const SettingsSchema = v.object({
  ...samplingEntries,
  backend: v.fallback(v.picklist(['auto', 'wasm', 'webgpu'] satisfies BackendChoice[]), 'auto'),
  /** Undefined: the engine decides. */
  threads: v.fallback(v.optional(whole('threads')), undefined),
  context: v.fallback(v.optional(whole('context')), undefined),
  theme: v.fallback(v.picklist(['auto', 'light', 'dark'] satisfies ThemeChoice[]), 'auto'),
  /** The last model that was asked for by name or address. */
  lastModel: v.fallback(v.optional(v.string()), undefined),
  /** The chat that was open. */
  lastChat: v.fallback(v.optional(v.string()), undefined),
});

export type Settings = v.InferOutput<typeof SettingsSchema>;

const KEY = 'edgevisor-settings';

export const defaultSettings = (): Settings => v.parse(SettingsSchema, {});

/** Names of the settings that `resetSampling` puts back. */
export const samplingDefaults = (): Partial<Settings> => v.parse(v.object(samplingEntries), {});

const stored = (storage: Storage): unknown => {
  try {
    return JSON.parse(storage.getItem(KEY) ?? '{}');
  } catch {
    return {};
  }
};

/** localStorage throws on access where site data is blocked; the settings then last as long as the page. */
const localStorageIfAllowed = (): Storage | undefined => {
  try {
    return globalThis.localStorage;
  } catch {
    return undefined;
  }
};

/** Reads a number field: undefined for an empty one, else the nearest value within the bounds. */
export const clampSetting = (name: NumberSetting, text: string): number | undefined => {
  const value = Number.parseFloat(text);
  if (Number.isNaN(value)) return undefined;
  const { min, max, step } = BOUNDS[name];
  const clamped = Math.min(max, Math.max(min, value));
  return step === 1 ? Math.round(clamped) : clamped;
};

/** The settings, with a `change` event whenever one changes. */
export class SettingsStore extends EventTarget {
  #value: Settings;
  readonly #storage: Storage | undefined;

  constructor(storage: Storage | undefined = localStorageIfAllowed()) {
    super();
    this.#storage = storage;
    const saved = v.safeParse(SettingsSchema, storage ? stored(storage) : {});
    this.#value = saved.success ? saved.output : defaultSettings();
  }

  get value(): Readonly<Settings> {
    return this.#value;
  }

  /** Changes some settings and keeps them. `keep: false` is for those given by the page's address. */
  set(change: Partial<Settings>, { keep = true } = {}): void {
    this.#value = { ...this.#value, ...change };
    if (keep) this.#save(change);
    this.dispatchEvent(new Event('change'));
  }

  #save(change: Partial<Settings>): void {
    if (!this.#storage) return;
    // Only what changed is written over what is stored, so that a value from the page's address is not kept by chance.
    const before = v.safeParse(SettingsSchema, stored(this.#storage));
    try {
      this.#storage.setItem(KEY, JSON.stringify({ ...(before.success ? before.output : {}), ...change }));
    } catch {
      // A full or read-only storage loses a preference, which the next visit shows; the chat goes on.
    }
  }
}
