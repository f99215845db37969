import { describe, expect, it } from 'vitest';
import { decodeFlows, deleteFlow, dumpFlows } from '../../../src/netlink/conntrack.js';
import { build, expectBytes, fixture, littleEndianHost } from './support.js';

const flows = () => decodeFlows(fixture('flows'));

describe.runIf(littleEndianHost)('tracked connections', () => {
  it('are asked for with a header of nfnetlink', () => {
    expectBytes(dumpFlows(), [
      ['14000000', 'length'],
      ['0101', 'type: ctnetlink, get'],
      ['0103', 'flags: request, dump'],
      ['01000000', 'sequence number'],
      ['00000000', 'port'],
      ['00 00 0000', 'any family, version, resource'],
    ]);
  });

  it('are read with both directions, translated or not', () => {
    const found = flows().map(({ name: _name, ...flow }) => flow);
    expect(found).toContainEqual({
      family: 4,
      original: { source: '10.0.0.2', destination: '10.0.1.2', protocol: 17, sourcePort: 40002, destinationPort: 53 },
      reply: { source: '10.0.1.2', destination: '10.0.0.2', protocol: 17, sourcePort: 53, destinationPort: 40002 },
    });
    expect(found).toContainEqual({
      family: 4,
      original: { source: '10.0.0.2', destination: '198.51.100.7', protocol: 1, icmp: { type: 8, code: 0 } },
      reply: { source: '10.0.1.2', destination: '10.0.0.2', protocol: 1, icmp: { type: 0, code: 0 } },
    });
    expect(found).toContainEqual({
      family: 4,
      original: { source: '10.0.0.2', destination: '10.0.1.2', protocol: 1, icmp: { type: 8, code: 0 } },
      reply: { source: '10.0.1.2', destination: '10.0.0.2', protocol: 1, icmp: { type: 0, code: 0 } },
    });
  });

  it('are forgotten by the name they came with', () => {
    const flow = flows().find(({ original }) => original.protocol === 17);
    if (flow === undefined) throw new Error('no udp flow in the fixture');
    const id = Buffer.from(flow.name.id).toString('hex');
    const { data } = build((batch) => deleteFlow(batch, flow));
    expectBytes(data, [
      ['50000000', 'length'],
      ['0201', 'type: ctnetlink, delete'],
      ['0500', 'flags: request, ack'],
      ['01000000', 'sequence number'],
      ['00000000', 'port'],
      ['02 00 0000', 'IPv4, version, resource'],
      ['3400 0180', 'CTA_TUPLE_ORIG, nested'],
      ['1400 0180', 'CTA_TUPLE_IP, nested'],
      ['0800 0100 0a000002', 'CTA_IP_V4_SRC'],
      ['0800 0200 0a000102', 'CTA_IP_V4_DST'],
      ['1c00 0280', 'CTA_TUPLE_PROTO, nested'],
      ['0500 0100 11000000', 'CTA_PROTO_NUM'],
      ['0600 0200 9c420000', 'CTA_PROTO_SRC_PORT'],
      ['0600 0300 00350000', 'CTA_PROTO_DST_PORT'],
      [`0800 0c00 ${id}`, 'CTA_ID'],
    ]);
  });
});
