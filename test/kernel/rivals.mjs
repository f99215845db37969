/** What the rivals of rival.mjs work on, and by what rule their packets pass. */

/** The last two overlap: they cannot be peered. */
export const VPCS = { a: '10.1.0.0/16', b: '10.2.0.0/16', c: '10.3.0.0/16', d: '10.4.0.0/16', e: '10.4.0.0/16' };

/** Everybody listens here. */
export const PORT = 8000;

/** @type {Record<'open' | 'closed' | 'self' | 'vpc', { protocol?: 'tcp', port?: number | string, from?: string }[]>} */
export const GROUP_RULES = {
  open: [{ protocol: 'tcp', port: PORT }],
  closed: [],
  self: [{ from: 'self' }],
  vpc: [{ protocol: 'tcp', port: '7000-9000', from: 'vpc' }],
};

/** @type {Record<'allow' | 'deny', { protocol?: 'tcp', port?: number, action: 'allow' | 'deny' }[]>} */
export const POLICIES = {
  allow: [{ protocol: 'tcp', port: PORT, action: 'allow' }],
  deny: [{ protocol: 'tcp', port: PORT, action: 'deny' }, { action: 'allow' }],
};

/** Numbers from 0 to 1 that a seed decides (mulberry32). @param {number} seed */
export function randomOf(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let word = state;
    word = Math.imul(word ^ (word >>> 15), word | 1);
    word ^= word + Math.imul(word ^ (word >>> 7), word | 61);
    return ((word ^ (word >>> 14)) >>> 0) / 4294967296;
  };
}

/** The edit that makes one of {@link VPCS}, or finds it made. @param {keyof typeof VPCS} vpc */
export function makeVpc(vpc) {
  const cidr = VPCS[vpc];
  const block = (/** @type {number} */ third) => cidr.replace('.0.0/16', `.${third}.0/24`);
  return (/** @type {import('../../src/index.js').Transaction} */ tx) => {
    tx.createVpc({ name: vpc, cidr });
    tx.addSubnet({ vpc, name: 's', cidr: block(1) });
    tx.addSubnet({ vpc, name: 'p', cidr: block(2), public: true });
    tx.putSecurityGroup(vpc, 'g', { ingress: GROUP_RULES.open });
  };
}
