/**
 * Failures of the mesh that a person may see. Codes: `version` (another version of the frames), `malformed`, `lost`
 * (with the device that went away), `left` (told us so, or was removed), `congested`, `closed` (by this side),
 * `refused` (by the host), `unavailable` (server, or room not open), `replaced`, `removed`, `diverged` (replicas differ), `wrong-numbers` (not finite),
 * `wrong-share` (not what a member should have computed).
 */
export class MeshError extends Error {
  constructor(
    readonly code: string,
    message: string,
    /** Index of the device that it concerns, where there is one. */
    readonly device?: number,
  ) {
    super(message);
    this.name = 'MeshError';
  }
}
