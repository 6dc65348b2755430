import { X509Certificate } from 'node:crypto';
import { mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { request } from 'node:https';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { generate } from 'selfsigned';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadCertificate } from '../../../signaling-server/certificate.ts';
import { createHttpServer, listen } from '../../../signaling-server/http-server.ts';

const NAMES = ['localhost', 'desk.local'];
const ADDRESSES = ['192.168.1.7'];
let directory = '';

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'edgevisor-certificate-'));
});

afterEach(() => rmSync(directory, { recursive: true }));

describe('certificate', () => {
  test('names this machine, for no longer than browsers allow, and only the user may read its key', async () => {
    const certificate = new X509Certificate((await loadCertificate(directory, NAMES, ADDRESSES)).cert);
    for (const name of NAMES) expect(certificate.checkHost(name)).toBe(name);
    for (const ip of ['127.0.0.1', '::1', ...ADDRESSES]) expect(certificate.checkIP(ip)).toBe(ip);
    const days = (Date.parse(certificate.validTo) - Date.parse(certificate.validFrom)) / 86_400_000;
    expect(days).toBeLessThanOrEqual(825);
    if (process.platform !== 'win32') expect(statSync(join(directory, 'key.pem')).mode & 0o077).toBe(0);
  });

  test('is kept between starts', async () => {
    const first = await loadCertificate(directory, NAMES, ADDRESSES);
    expect(await loadCertificate(directory, NAMES, ADDRESSES)).toEqual(first);
    expect(await loadCertificate(directory, NAMES, []), 'an address less').toEqual(first);
  });

  test('is renewed when the machine has a new address', async () => {
    const first = await loadCertificate(directory, NAMES, ADDRESSES);
    const second = await loadCertificate(directory, NAMES, ['10.0.0.2']);
    expect(second.cert).not.toBe(first.cert);
    expect(new X509Certificate(second.cert).checkIP('10.0.0.2')).toBe('10.0.0.2');
  });

  test('is renewed before it ends', async () => {
    const altNames = [
      ...NAMES.map((value) => ({ type: 2, value }) as const),
      ...['127.0.0.1', ...ADDRESSES].map((ip) => ({ type: 7, ip }) as const),
    ];
    const ending = await generate([], {
      keyType: 'ec',
      algorithm: 'sha256',
      notAfterDate: new Date(Date.now() + 86_400_000),
      extensions: [{ name: 'subjectAltName', altNames }],
    });
    writeFileSync(join(directory, 'key.pem'), ending.private);
    writeFileSync(join(directory, 'cert.pem'), ending.cert);
    expect((await loadCertificate(directory, NAMES, ADDRESSES)).cert).not.toBe(ending.cert);
  });

  test('is renewed when what is kept is damaged', async () => {
    await loadCertificate(directory, NAMES, ADDRESSES);
    writeFileSync(join(directory, 'cert.pem'), 'not a certificate');
    expect(new X509Certificate((await loadCertificate(directory, NAMES, ADDRESSES)).cert).subject).toContain(
      'EdgeVisor',
    );
  });

  test('a client that trusts it reaches the server by https', async () => {
    const certificate = await loadCertificate(directory, NAMES, ADDRESSES);
    writeFileSync(join(directory, 'index.html'), 'hello');
    const site = { pages: directory, models: directory, addresses: () => ({ http: [], https: [] }) };
    const server = createHttpServer(site, certificate);
    const port = await listen(server, 0);
    const status = await new Promise((resolve, reject) => {
      const options = { host: 'localhost', port, path: '/', ca: certificate.cert };
      request(options, (response) => resolve(response.resume().statusCode))
        .once('error', reject)
        .end();
    });
    server.close();
    server.closeAllConnections();
    expect(status).toBe(200);
  });
});
