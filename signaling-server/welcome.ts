import QRCode from 'qrcode';
import type { Addresses } from './http-server.ts';

/** What the terminal says once the server runs: the addresses, and a QR code that a phone opens the contribute page with. */
export async function welcome(addresses: Addresses): Promise<string> {
  const lines = ['', 'EdgeVisor is running.', '', `  Chat on this machine   ${addresses.http.at(-1)}/host.html`];
  const [phone] = addresses.https.length > 1 ? addresses.https : [];
  if (!phone) {
    lines.push('', 'This machine has no address on a network (or no https), so other devices cannot join.', '');
    return lines.join('\n');
  }
  lines.push(...addresses.https.slice(0, -1).map((origin) => `  Other devices          ${origin}/`));
  lines.push(...addresses.http.slice(0, -1).map((origin) => `  without encryption     ${origin}/ (one slow thread)`));
  lines.push('', await QRCode.toString(`${phone}/`, { type: 'terminal', small: true, errorCorrectionLevel: 'L' }));
  lines.push('The certificate was made on this machine, so browsers warn once: choose "advanced" and go on.', '');
  return lines.join('\n');
}
