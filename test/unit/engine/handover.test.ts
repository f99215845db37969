/** The route on the host to a block goes from one VPC to another while others work on both. */
import { expect, test } from 'vitest';
import { findKind } from '../../../src/model/reader.js';
import * as verbs from '../../../src/model/verbs.js';
import { drift, engineOn, fresh } from './support.js';

const twin = (name: string) => (draft: Parameters<typeof verbs.createVpc>[0]) => {
  verbs.createVpc(draft, { name, cidr: '10.0.0.0/16' });
  verbs.addSubnet(draft, { vpc: name, name: 's', cidr: '10.0.1.0/24', public: true });
};

test('one of those that want a route on the host has it, whoever comes and goes at once', async () => {
  for (let round = 0; round < 10; round += 1) {
    const { dir, engine, kernel } = fresh({ onChange: async () => new Promise((resolve) => setImmediate(resolve)) });
    for (const name of ['a', 'b', 'c']) await engine.transact(twin(name));
    const others = [engine, engineOn(dir, kernel), engineOn(dir, kernel), engineOn(dir, kernel)];
    await Promise.all([
      others[0]?.transact((draft) => verbs.deleteVpc(draft, 'a')),
      others[1]?.transact((draft) => verbs.deleteVpc(draft, 'b')),
      others[2]?.transact(twin('d')),
      others[3]?.transact((draft) => verbs.addInstance(draft, { vpc: 'c', subnet: 's', name: 'x' })),
    ]);
    expect(findKind(engine.store, 'subnet', 'hostroute')).toHaveLength(1);
    expect(
      kernel.rows().filter((row) => row.kind === 'route' && row.ns === '' && row.dst === '10.0.1.0/24'),
    ).toHaveLength(1);
    expect(drift(engine, kernel)).toEqual([]);
  }
}, 60_000);
