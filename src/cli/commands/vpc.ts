/** `create-vpc`, `delete-vpc`, `cleanup-all`. */
import type { Command } from 'commander';
import type { PlanView, SettingsSpec } from '../../index.js';
import { DNS_DOMAIN, DNS_FORWARD, type DnsOptions, dnsOf } from '../dns-options.js';
import { type DryRun, dryRunOption, readList, type Yes, yesOption } from '../options.js';
import { isEmpty, planText } from '../plan-text.js';
import type { Session } from '../session.js';
import { count } from '../text.js';
import { wishOf } from '../wish.js';

/** Options that are settings of the installation. */
export interface Settings {
  readonly ipv6Pool?: string;
  readonly uplink?: string;
  readonly publicPool?: string;
  readonly poolRouted?: boolean;
  readonly ipv6PoolRouted?: boolean;
}

interface CreateVpcOptions extends DryRun, Settings, DnsOptions {
  readonly name: string;
  readonly cidr: string;
  readonly ipv6?: string;
}

interface DeleteVpcOptions extends DryRun {
  readonly name: string;
  readonly force?: boolean;
}

/** `created`, `changed` or `unchanged`: what the plan says of a resource. */
export function verbOf(plan: PlanView, resource: string): 'created' | 'changed' | 'unchanged' {
  const change = plan.changes.find((one) => one.resource === resource);
  if (change === undefined) return isEmpty(plan) ? 'unchanged' : 'changed';
  return change.action === 'create' ? 'created' : 'changed';
}

/** The settings of the installation that are given along with a VPC. */
export function settingsOf({
  uplink,
  publicPool,
  poolRouted,
  ipv6Pool,
  ipv6PoolRouted,
}: Settings): SettingsSpec | undefined {
  const settings = {
    ...(uplink === undefined ? {} : { uplink }),
    ...(publicPool === undefined ? {} : { publicPool }),
    ...(poolRouted === undefined ? {} : { poolRouted }),
    ...(ipv6Pool === undefined ? {} : { ipv6Pool }),
    ...(ipv6PoolRouted === undefined ? {} : { ipv6PoolRouted }),
  };
  return Object.keys(settings).length === 0 ? undefined : settings;
}

export function addVpcs(program: Command, session: Session): void {
  program
    .command('create-vpc')
    .description('create a VPC')
    .requiredOption('--name <name>', 'name of the VPC')
    .requiredOption(
      '--cidr <cidr>',
      "its block, /16 to /28, or the gateway's address with the prefix length (10.0.1.1/24)",
    )
    .option('--ipv6 <cidr>', 'its IPv6 block: a /56 of the pool, auto or none (default: none, or as it was)')
    .option('--ipv6-pool <cidr>', 'IPv6 blocks of the whole installation (default fd76:7063:6300::/40)')
    .option('--dns', 'with a resolver at the third address of its block and at 169.254.169.253')
    .option(...DNS_DOMAIN)
    .option(DNS_FORWARD[0], DNS_FORWARD[1], readList)
    .option('--uplink <link>', 'link to the internet for the whole installation: a name, auto or none')
    .option('--public-pool <cidr>', 'public addresses of the whole installation (default 198.51.100.0/24)')
    .option('--pool-routed', 'the pool is routed to this host by its network: do not masquerade')
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Examples:
  vpcctl create-vpc --name a --cidr 10.1.0.0/16
  vpcctl create-vpc --name production --cidr 10.0.1.1/24
  vpcctl create-vpc --name dual --cidr 10.8.0.0/16 --ipv6 auto
  vpcctl create-vpc --name lab --cidr 10.9.0.0/16 --uplink none`,
    )
    .action(async (options: CreateVpcOptions) => {
      const { name, cidr, ipv6 } = options;
      const settings = settingsOf(options);
      const dns = dnsOf(options);
      await session.change(
        (tx) => {
          if (settings !== undefined) tx.configure(settings);
          tx.createVpc({ name, cidr, ...(ipv6 === undefined ? {} : { ipv6Cidr: wishOf(ipv6) }) });
          if (dns !== undefined) tx.setDns(name, dns);
        },
        options,
        (result, library) => {
          const vpc = library.inspect(name);
          const blocks = [...vpc.cidrs, vpc.ipv6Cidr ?? []].flat().join(', ');
          const verb = verbOf(result, `vpc ${name}`);
          const words = {
            created: `created vpc ${name}`,
            changed: result.changes.some(({ kind }) => kind === 'vpc')
              ? `changed vpc ${name}`
              : `changed the settings; vpc ${name}`,
            unchanged: `unchanged: vpc ${name}`,
          };
          return { text: [`${words[verb]}  ${blocks}`], json: { vpc } };
        },
      );
    });

  program
    .command('delete-vpc')
    .description('delete a VPC with all that is in it')
    .requiredOption('--name <name>', 'name of the VPC')
    .option('--force', 'even while it is peered')
    .addOption(dryRunOption())
    .action(async (options: DeleteVpcOptions) => {
      const { name, force = false } = options;
      await session.remove(
        (tx) => tx.deleteVpc(name, { force }),
        options,
        `deleted vpc ${name}`,
        `no VPC named ${name}: nothing to delete`,
      );
    });

  program
    .command('cleanup-all')
    .description('delete everything of this installation: VPCs, programs and settings')
    .option('--orphans', 'delete what is marked ours in the kernel and recorded nowhere: what a lost state left')
    .addOption(yesOption())
    .addOption(dryRunOption())
    .action(async ({ orphans, ...options }: DryRun & Yes & { readonly orphans?: boolean }) =>
      orphans === true ? destroyOrphans(session, options) : destroyAll(session, options),
    );
}

/** Deletes every VPC, once somebody has agreed. */
export async function destroyAll(session: Session, { dryRun = false, yes }: DryRun & Yes): Promise<void> {
  const library = await session.open();
  const plan = await library.destroy(undefined, { dryRun: true });
  if (dryRun) return session.reportChange(plan, true);
  if (isEmpty(plan)) return session.reportChange(plan, false, { text: ['nothing to delete'], json: { deleted: [] } });
  const names = library.list().vpcs.map(({ name }) => name);
  const question = `Delete ${count(names.length, 'VPC')} and all that is in them?`;
  if (!(await session.confirm(question, yes, planText(plan, session.colors)))) return;
  const result = await library.destroy(undefined, { signal: session.signal });
  const what = names.length === 0 ? 'what was left' : names.map((name) => `vpc ${name}`).join(', ');
  session.reportChange(result, false, { text: [`deleted ${what}`], json: { deleted: names } });
}

/**
 * Deletes what a lost state left, once somebody has agreed. What another state directory on this machine records looks the same, so the
 * question names the namespaces.
 */
async function destroyOrphans(session: Session, { dryRun = false, yes }: DryRun & Yes): Promise<void> {
  const library = await session.open();
  const orphans = await library.orphans();
  const namespaces = orphans.flatMap((row) => (row.kind === 'netns' ? [row.ns] : []));
  const json = { orphans: namespaces, objects: orphans.length, dryRun };
  const what = [...namespaces.map((ns) => `namespace ${ns}`), `${count(orphans.length, 'kernel object')} in all`];
  if (orphans.length === 0) return session.report({ text: () => ['nothing of ours without a record'], json });
  if (dryRun) return session.report({ text: () => what, json });
  const question = 'Delete these? If another state directory records them, they are not orphans.';
  if (!(await session.confirm(question, yes, what))) return;
  await library.removeOrphans();
  session.report({
    text: () => [`deleted ${count(orphans.length, 'kernel object')} that had no record`],
    json: { ...json, ...session.held() },
  });
}
