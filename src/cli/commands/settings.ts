/** `configure`: settings of the whole installation. */
import { type Command, InvalidArgumentError } from 'commander';
import type { QuotasSpec } from '../../index.js';
import { type DryRun, dryRunOption } from '../options.js';
import { settingsText } from '../render.js';
import type { Session } from '../session.js';
import { type Settings, settingsOf } from './vpc.js';

type Quotas = Readonly<Record<string, number | null>>;

interface ConfigureOptions extends DryRun, Settings {
  readonly quota?: Quotas;
}

/** `NAME=NUMBER`, `NAME=none`. */
function readQuota(text: string, before: Quotas = {}): Quotas {
  const [, name, most] = /^([A-Za-z]+)=([0-9]{1,9}|none)$/.exec(text) ?? [];
  if (name === undefined || most === undefined) throw new InvalidArgumentError('Expected NAME=NUMBER or NAME=none.');
  return { ...before, [name]: most === 'none' ? null : Number(most) };
}

/** The quotas `before`, with those of `given` set or, by null, lifted. */
function withQuotas(before: QuotasSpec, given: Quotas): QuotasSpec {
  const all: Quotas = { ...before, ...given };
  return Object.fromEntries(Object.entries(all).filter(([, most]) => most !== null));
}

export function addSettings(program: Command, session: Session): void {
  program
    .command('configure')
    .description('change settings of the whole installation; show tells them')
    .option('--uplink <link>', 'link to the internet: a name, auto or none')
    .option('--public-pool <cidr>', 'the block that public addresses are of')
    .option('--ipv6-pool <cidr>', 'the block that IPv6 blocks of VPCs are of')
    .option('--pool-routed', 'the pool is routed to this host by its network: do not masquerade')
    .option('--no-pool-routed', 'masquerade the pool at the uplink')
    .option('--ipv6-pool-routed', 'the IPv6 pool is routed to this host: do not masquerade')
    .option('--no-ipv6-pool-routed', 'masquerade the IPv6 pool at the uplink')
    .option(
      '--quota <limits...>',
      'NAME=NUMBER or NAME=none: securityGroupRules, securityGroupsPerInstance, networkAclRules, routesPerRouteTable, subnetsPerVpc, blocksPerVpc',
      readQuota,
    )
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Examples:
  vpcctl configure --public-pool 203.0.113.0/24 --pool-routed
  vpcctl configure --quota securityGroupRules=60 securityGroupsPerInstance=5`,
    )
    .action(async (options: ConfigureOptions) => {
      const { quota } = options;
      const before = quota === undefined ? {} : (await session.open()).list().quotas;
      const settings = {
        ...settingsOf(options),
        ...(quota === undefined ? {} : { quotas: withQuotas(before, quota) }),
      };
      await session.change(
        (tx) => tx.configure(settings),
        options,
        (_result, library) => {
          const view = library.list();
          const { publicPool, poolRouted, ipv6Pool, ipv6PoolRouted, uplink, quotas } = view;
          const settings = { publicPool, poolRouted, ipv6Pool, ipv6PoolRouted, uplink, quotas };
          return { text: settingsText(view), json: { settings } };
        },
      );
    });
}
