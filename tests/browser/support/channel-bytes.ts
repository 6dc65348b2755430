/** What the browser's own statistics say of a page's data channels. */
import type { Page } from '@playwright/test';

/** Runs in a page before its scripts: keeps every connection that they make. */
export function collectConnections(): void {
  if (typeof RTCPeerConnection === 'undefined') return;
  const made: RTCPeerConnection[] = [];
  Object.assign(window, { madeConnections: made });
  window.RTCPeerConnection = class extends RTCPeerConnection {
    constructor(configuration?: RTCConfiguration) {
      super(configuration);
      made.push(this);
    }
  };
}

/** Bytes sent and received over the channels of a name, by all connections of a page that `collectConnections` ran in. */
export const channelBytes = (page: Page, label: string): Promise<number> =>
  page.evaluate(async (wanted) => {
    const { madeConnections } = window as unknown as { madeConnections: RTCPeerConnection[] };
    let bytes = 0;
    for (const connection of madeConnections) {
      const report = (await connection.getStats()) as unknown as Map<string, Record<string, unknown>>;
      for (const entry of report.values()) {
        if (entry.type !== 'data-channel' || entry.label !== wanted) continue;
        bytes += Number(entry.bytesSent) + Number(entry.bytesReceived);
      }
    }
    return bytes;
  }, label);
