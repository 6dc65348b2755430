/**
 * Failures that are neither a model's nor a device's. Codes: `bad-request` (an argument is wrong), `no-model` (load one
 * first), `busy` (one thing at a time), `crashed` (the engine's Worker died), `aborted` (the caller's signal),
 * `internal` (a fault of ours).
 */
export class HostError extends Error {
  constructor(
    readonly code: string,
    message: string,
    options?: ErrorOptions,
  ) {
    super(message, options);
    this.name = 'HostError';
  }
}

/** The stable word of an error, `internal` where nobody gave it one. */
export function codeOf(error: unknown): string {
  if (typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string')
    return error.code;
  if (error instanceof Error && error.name === 'AbortError') return 'aborted';
  return 'internal';
}

/** What happened, in words. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
