import { X509Certificate } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { generate } from 'selfsigned';

/** PEM texts. */
export interface Certificate {
  key: string;
  cert: string;
}

const DAY = 24 * 60 * 60 * 1000;
/** Browsers refuse longer ones (Apple: 825 days). */
const LIFETIME = 800 * DAY;
/** Renewed this long before it ends. */
const MARGIN = 14 * DAY;

const DNS_NAME = 2;
const IP_ADDRESS = 7;

/**
 * The certificate kept in `directory`, or a new self-signed one where there is none, it is about to end, or it does not
 * name all of `names` and `addresses`. It is kept because every new one has to be accepted again on every device.
 */
export async function loadCertificate(directory: string, names: string[], addresses: string[]): Promise<Certificate> {
  const kept = await readKept(directory);
  if (kept && stillGood(kept.cert, names, addresses)) return kept;
  const made = await make(names, addresses);
  await mkdir(directory, { recursive: true, mode: 0o700 });
  await writeWhole(join(directory, 'key.pem'), made.key);
  await writeWhole(join(directory, 'cert.pem'), made.cert);
  return made;
}

async function readKept(directory: string): Promise<Certificate | undefined> {
  try {
    const [key, cert] = await Promise.all([
      readFile(join(directory, 'key.pem'), 'utf8'),
      readFile(join(directory, 'cert.pem'), 'utf8'),
    ]);
    return new X509Certificate(cert).publicKey && { key, cert };
  } catch {
    return undefined; // none yet, or unreadable: a new one is made
  }
}

function stillGood(cert: string, names: string[], addresses: string[]): boolean {
  const certificate = new X509Certificate(cert);
  return (
    Date.parse(certificate.validTo) - MARGIN > Date.now() &&
    Date.parse(certificate.validFrom) <= Date.now() &&
    names.every((name) => certificate.checkHost(name) !== undefined) &&
    ['127.0.0.1', ...addresses].every((address) => certificate.checkIP(address) !== undefined)
  );
}

async function make(names: string[], addresses: string[]): Promise<Certificate> {
  const ips = new Set(['127.0.0.1', '::1', ...addresses]);
  const { private: key, cert } = await generate([{ name: 'commonName', value: 'EdgeVisor on this machine' }], {
    keyType: 'ec',
    algorithm: 'sha256',
    notBeforeDate: new Date(Date.now() - DAY), // a phone's clock may be behind
    notAfterDate: new Date(Date.now() + LIFETIME),
    extensions: [
      { name: 'basicConstraints', cA: false, critical: true },
      { name: 'keyUsage', digitalSignature: true, critical: true },
      { name: 'extKeyUsage', serverAuth: true },
      {
        name: 'subjectAltName',
        altNames: [
          ...names.map((value) => ({ type: DNS_NAME, value }) as const),
          ...[...ips].map((ip) => ({ type: IP_ADDRESS, ip }) as const),
        ],
      },
    ],
  });
  return { key, cert };
}

/** Only this user may read it, and it is never there in part. */
async function writeWhole(path: string, text: string): Promise<void> {
  await writeFile(`${path}.part`, text, { mode: 0o600 });
  await rename(`${path}.part`, path);
}
