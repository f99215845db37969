/** What a router is said to admit, case by case as a person reads the rules. Packets prove the same in test/kernel/cut.test.ts. */
import { expect, test } from 'vitest';
import { Admission, type Connection } from '../../../src/lower/admits.js';
import type { Draft } from '../../../src/model/reader.js';
import { addNatGateway, deleteNatGateway } from '../../../src/model/routing.js';
import { addInstance, addSubnet, createVpc, peer, putGroup } from '../../../src/model/verbs.js';
import { world } from '../model/support.js';

const built = world((draft) => {
  createVpc(draft, { name: 'a', cidr: '10.1.0.0/16' });
  addSubnet(draft, { vpc: 'a', name: 's', cidr: '10.1.1.0/24', public: true });
  putGroup(draft, 'a', 'web', {
    ingress: [
      { protocol: 'tcp', port: '80-81', from: 'any' },
      { protocol: 'udp', port: 53, from: '192.0.2.0/24' },
      { protocol: 'icmp', from: { group: 'client' } },
      { protocol: 'icmp', icmpType: 8, from: '192.0.2.0/24' },
    ],
    egress: [{ protocol: 'tcp', port: 443, to: '192.0.2.0/24' }],
  });
  putGroup(draft, 'a', 'client', { ingress: [{ from: 'host' }] });
  addInstance(draft, {
    vpc: 'a',
    subnet: 's',
    name: 'web',
    ip: '10.1.1.10',
    publicIp: '198.51.100.10',
    securityGroups: ['web'],
  });
  addInstance(draft, {
    vpc: 'a',
    subnet: 's',
    name: 'client',
    ip: '10.1.1.11',
    publicIp: false,
    securityGroups: ['client'],
  });
  createVpc(draft, { name: 'b', cidr: '10.2.0.0/16' });
  peer(draft, 'a', 'b', ['10.1.1.10/32', '10.2.1.0/24']);
});
const admission = new Admission([...built.rows.values()].flat().filter(({ ns }) => ns === 'vpc.a'));

const WEB = '10.1.1.10';
const CLIENT = '10.1.1.11';
const PUBLIC = '198.51.100.10';
const OUTSIDE = '192.0.2.9';
type Case = readonly [
  expected: boolean | undefined,
  source: string,
  destination: string,
  protocol: number,
  port?: number | undefined,
  translated?: Partial<Connection>,
];

const CASES: readonly Case[] = [
  [true, CLIENT, WEB, 6, 80],
  [true, CLIENT, WEB, 6, 81],
  [false, CLIENT, WEB, 6, 82],
  [false, CLIENT, WEB, 17, 80],
  [true, CLIENT, WEB, 1],
  [false, WEB, CLIENT, 1],
  [false, WEB, CLIENT, 6, 443],
  // In by the public address, as long as it is this instance's.
  [true, OUTSIDE, PUBLIC, 6, 80, { answersFrom: WEB }],
  [true, OUTSIDE, PUBLIC, 17, 53, { answersFrom: WEB }],
  [true, OUTSIDE, PUBLIC, 1, undefined, { answersFrom: WEB, icmp: { type: 8, code: 0 } }],
  [false, OUTSIDE, PUBLIC, 1, undefined, { answersFrom: WEB, icmp: { type: 13, code: 0 } }],
  [false, '192.0.3.9', PUBLIC, 17, 53, { answersFrom: WEB }],
  [false, OUTSIDE, '198.51.100.11', 6, 80, { answersFrom: WEB }],
  [false, OUTSIDE, WEB, 6, 80],
  // Out by it.
  [true, WEB, OUTSIDE, 6, 443, { answersTo: PUBLIC }],
  [false, WEB, OUTSIDE, 6, 80, { answersTo: PUBLIC }],
  [false, WEB, OUTSIDE, 6, 443, { answersTo: '198.51.100.11' }],
  [false, CLIENT, OUTSIDE, 6, 443, { answersTo: PUBLIC }],
  // The host: to instances with a public address only.
  [true, '169.254.128.1', WEB, 6, 80],
  [false, '169.254.128.1', CLIENT, 6, 80],
  // The peer: only between the blocks that the peering names.
  [true, '10.2.1.4', WEB, 6, 80],
  [false, '10.2.2.4', WEB, 6, 80],
  [false, '10.2.1.4', CLIENT, 6, 80],
  [false, WEB, '10.2.1.4', 6, 443],
  [undefined, '192.0.2.1', '192.0.2.2', 6, 80],
];

test('what leaves by a NAT gateway is admitted while there is one; by its own address, as by any public one', () => {
  const rows = (...edits: ((draft: Draft) => unknown)[]) => {
    const made = world(
      (draft) => {
        createVpc(draft, { name: 'a', cidr: '10.1.0.0/16' });
        addSubnet(draft, { vpc: 'a', name: 's', cidr: '10.1.1.0/24', public: true });
        addSubnet(draft, { vpc: 'a', name: 't', cidr: '10.1.2.0/24' });
        putGroup(draft, 'a', 'default', { egress: [{ protocol: 'tcp', port: 443 }] });
        addInstance(draft, { vpc: 'a', subnet: 't', name: 'x', ip: '10.1.2.10' });
        addNatGateway(draft, { vpc: 'a', subnet: 's', name: 'n', ip: '10.1.1.200', publicIp: PUBLIC });
      },
      ...edits,
    );
    return new Admission([...made.rows.values()].flat().filter(({ ns }) => ns === 'vpc.a'));
  };
  const out = { destination: OUTSIDE, protocol: 6, port: 443, answersFrom: OUTSIDE };
  const before = { ...out, source: '10.1.2.10', answersTo: '10.1.2.10' };
  const behind = { ...out, source: '10.1.1.200', answersTo: PUBLIC };
  const with_ = rows();
  expect(with_.admits(before)).toBe(true);
  expect(with_.admits({ ...before, port: 80 })).toBe(false);
  expect(with_.admits(behind)).toBe(true);
  expect(with_.admits({ ...behind, answersTo: '198.51.100.11' })).toBe(false);
  const without = rows((draft) => deleteNatGateway(draft, 'a', 'n'));
  expect(without.admits(before)).toBe(false);
  expect(without.admits(behind)).toBeUndefined();
});

for (const [expected, source, destination, protocol, port, translated] of CASES) {
  test(`${source} to ${destination}, protocol ${protocol}, port ${port}: ${expected}`, () => {
    const answers = { answersFrom: destination, answersTo: source, ...translated };
    const connection = { source, destination, protocol, ...(port === undefined ? {} : { port }), ...answers };
    expect(admission.admits(connection)).toBe(expected);
  });
}
