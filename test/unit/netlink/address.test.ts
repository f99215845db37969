import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { VpcctlError } from '../../../src/errors.js';
import { formatCidr, formatIp, formatMac, parseCidr, parseIp, parseMac } from '../../../src/netlink/address.js';
import { anyIpv4, anyIpv6, anyMac, canonicalIp, holds } from './support.js';

describe('addresses', () => {
  it('parses into network order', () => {
    expect([...parseIp('10.0.1.255').bytes]).toEqual([10, 0, 1, 255]);
    expect(parseIp('2001:db8::1:2').bytes).toEqual(
      Uint8Array.from([0x20, 0x01, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2]),
    );
    expect(parseCidr('10.0.0.1')).toMatchObject({ family: 4, prefix: 32 });
    expect(parseCidr('::/0')).toMatchObject({ family: 6, prefix: 0 });
    expect([...parseMac('02:00:0a:FF:00:01')]).toEqual([2, 0, 10, 255, 0, 1]);
  });

  it.each([
    '',
    '10.0.0',
    '10.0.0.256',
    '10.0.0.01',
    '10.0.0.1.2',
    ' 10.0.0.1',
    '0x0a.0.0.1',
    '10',
    ':::',
    '1::2::3',
    'fe80::1%eth0',
    'g::1',
  ])('refuses %j as an address', (text) => {
    expect(() => parseIp(text)).toThrow(VpcctlError);
  });

  it.each(['10.0.0.0/33', '10.0.0.0/', '10.0.0.0/-1', '10.0.0.0/08', '10.0.0.0/8/8', '::/129', '/8'])(
    'refuses %j as a CIDR',
    (text) => {
      expect(() => parseCidr(text)).toThrow(expect.objectContaining({ code: 'INVALID' }));
    },
  );

  it.each(['', '02:00:00:00:00', '02:00:00:00:00:0g', '2:0:0:0:0:1', '02-00-00-00-00-01'])(
    'refuses %j as a MAC',
    (text) => {
      expect(() => parseMac(text)).toThrow(expect.objectContaining({ code: 'INVALID' }));
    },
  );

  it('prints what it parsed, IPv6 as RFC 5952', () => {
    holds(
      fc.property(fc.oneof(anyIpv4, anyIpv6), (text) => {
        const { family, bytes } = parseIp(text);
        expect(formatIp(family, bytes)).toBe(canonicalIp(text));
      }),
    );
    holds(fc.property(anyMac, (text) => formatMac(parseMac(text)) === text));
  });

  it('takes a wrong length from the kernel for malformed, and no other link-layer address for a MAC', () => {
    expect(() => formatIp(4, new Uint8Array(5))).toThrow(expect.objectContaining({ code: 'KERNEL' }));
    expect(() => formatIp(6, new Uint8Array(4))).toThrow(expect.objectContaining({ code: 'KERNEL' }));
    expect(() => formatCidr(4, new Uint8Array(4), 33)).toThrow(expect.objectContaining({ code: 'KERNEL' }));
    expect(formatMac(new Uint8Array(4))).toBeUndefined();
    expect(formatMac(new Uint8Array(20))).toBeUndefined();
  });
});
