/** What is under way when a process is killed: each verb with the state that it starts from. Addresses are named, so that states compare. */

/** @typedef {import('../../src/index.js').Vpcctl} Vpcctl */
/** @typedef {import('../../src/index.js').Spec} Spec */

/** @type {Spec} */
const EMPTY = { vpcs: {} };

/** @type {Spec} */
export const FULL = {
  vpcs: {
    k: {
      cidr: '10.7.0.0/16',
      subnets: { web: { cidr: '10.7.1.0/24', public: true }, db: { cidr: '10.7.2.0/24' } },
      securityGroups: { g: { ingress: [{ protocol: 'tcp', port: 80 }] } },
      instances: {
        w1: { subnet: 'web', ip: '10.7.1.11', publicIp: '198.51.100.11', securityGroups: ['g'] },
        w2: { subnet: 'web', ip: '10.7.1.12', publicIp: '198.51.100.12' },
        d1: { subnet: 'db', ip: '10.7.2.11', securityGroups: ['g'] },
      },
    },
    l: {
      cidr: '10.8.0.0/16',
      subnets: { app: { cidr: '10.8.1.0/24' } },
      instances: { a1: { subnet: 'app', ip: '10.8.1.11' } },
    },
  },
  peerings: [{ vpcs: ['k', 'l'] }],
};

/** @type {Record<string, { from: Spec, run: (vpcctl: Vpcctl) => Promise<unknown> }>} */
export const VERBS = {
  apply: { from: EMPTY, run: (vpcctl) => vpcctl.apply(FULL) },
  destroy: { from: FULL, run: (vpcctl) => vpcctl.destroy() },
  attach: {
    from: FULL,
    run: (vpcctl) =>
      vpcctl.transaction((tx) =>
        tx.addInstance({ vpc: 'k', subnet: 'web', name: 'w3', ip: '10.7.1.13', publicIp: '198.51.100.13' }),
      ),
  },
  detach: { from: FULL, run: (vpcctl) => vpcctl.transaction((tx) => tx.deleteInstance('k', 'w1')) },
  rules: {
    from: FULL,
    run: (vpcctl) =>
      vpcctl.transaction((tx) =>
        tx.putSecurityGroup('k', 'g', {
          ingress: [{ protocol: 'tcp', port: '8000-8080', from: 'vpc' }, { from: 'self' }],
          egress: [{ protocol: 'udp', port: 53, to: '10.7.2.0/24' }],
        }),
      ),
  },
  policy: {
    from: FULL,
    run: (vpcctl) =>
      vpcctl.transaction((tx) =>
        tx.applyPolicy('k', 'web', { ingress: [{ protocol: 'tcp', port: 22, action: 'deny' }, { action: 'allow' }] }),
      ),
  },
  peer: { from: { vpcs: FULL.vpcs }, run: (vpcctl) => vpcctl.transaction((tx) => tx.peer('k', 'l')) },
  unpeer: { from: FULL, run: (vpcctl) => vpcctl.transaction((tx) => tx.unpeer('k', 'l')) },
  'a VPC deleted': {
    from: FULL,
    run: (vpcctl) => vpcctl.transaction((tx) => tx.deleteVpc('l', { force: true })),
  },
  'all at once': {
    from: FULL,
    run: (vpcctl) =>
      vpcctl.transaction((tx) => {
        tx.deleteVpc('l', { force: true });
        tx.createVpc({ name: 'm', cidr: '10.9.0.0/16' });
        tx.addSubnet({ vpc: 'm', name: 'app', cidr: '10.9.1.0/24', public: true });
        tx.addInstance({ vpc: 'm', subnet: 'app', name: 'm1', ip: '10.9.1.11', publicIp: '198.51.100.21' });
        tx.peer('k', 'm');
        tx.deleteInstance('k', 'w1');
        tx.addInstance({ vpc: 'k', subnet: 'db', name: 'd2', ip: '10.7.2.12' });
        tx.putSecurityGroup('k', 'g', { ingress: [] });
      }),
  },
};

/** Brings a state that a verb starts from about. @param {Vpcctl} vpcctl @param {Spec} spec */
export async function bring(vpcctl, spec) {
  const wanted = new Set(Object.keys(spec.vpcs));
  await vpcctl.transaction((tx) => {
    for (const name of ['k', 'l', 'm']) if (!wanted.has(name)) tx.deleteVpc(name, { force: true });
    if (spec.peerings === undefined && wanted.size > 0) tx.unpeer('k', 'l');
    tx.applySpec(spec);
  });
}
