import { expect, test } from 'vitest';
import { judgeAudit } from '../../../scripts/audit.ts';

const report = (severity: string) =>
  JSON.stringify({
    auditReportVersion: 2,
    vulnerabilities: {
      leftpad: { severity, via: [{ title: 'Pads too far', url: 'https://example.com/1' }, 'other'] },
    },
  });

test.each(['high', 'critical'])('a hole that is %s is a finding, with its name and where to read of it', (severity) => {
  expect(judgeAudit(report(severity))).toEqual({
    state: 'found',
    text: `leftpad: ${severity}\n  Pads too far https://example.com/1`,
  });
});

test.each([report('moderate'), JSON.stringify({ vulnerabilities: {} })])('others are none', (said) => {
  expect(judgeAudit(said)).toEqual({ state: 'clean' });
});

test.each([
  [JSON.stringify({ message: '405 Method Not Allowed', error: { summary: '' } }), /405/],
  [JSON.stringify({ error: { summary: 'getaddrinfo ENOTFOUND' } }), /ENOTFOUND/],
  ['', /no report/],
])('a registry that cannot be asked is said so, and is no finding', (said, why) => {
  expect(judgeAudit(said)).toEqual({ state: 'unasked', why: expect.stringMatching(why) });
});
