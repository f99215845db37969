/** What `doctor` says of resolvers: nothing where no VPC has one. */
import { VpcctlError } from '../errors.js';
import { findKind } from '../model/reader.js';
import { type Check, warning } from './check.js';
import { canWriteFiles, nameserversIn, RESOLV_CONF, Resolver } from './resolver.js';
import type { Store } from './store.js';

const NAME = 'resolver';

/** Looks only: a resolver that does not run is not started. */
export async function resolverChecks(store: Store, resolvConf = RESOLV_CONF): Promise<Check[]> {
  const vpcs = findKind(store, 'vpc', 'dns');
  if (vpcs.length === 0) return [];
  const names = vpcs.map(({ name }) => name);
  const forwarding = vpcs.filter(({ dns }) => dns?.forward === 'host').map(({ name }) => name);
  return [
    await running(new Resolver(store), names),
    ...(forwarding.length > 0 && nameserversIn(resolvConf).length === 0
      ? [
          warning(NAME, `${resolvConf} names no server, which is to be asked for ${those(forwarding)}`, {
            hint: 'name one there, or others with `vpcctl modify-vpc-dns --dns-forward`',
          }),
        ]
      : []),
    ...(canWriteFiles()
      ? []
      : [
          warning(NAME, "nothing can be written below /etc: programs in instances have the host's /etc/resolv.conf", {
            hint: `have them ask the VPC's resolver, at 169.254.169.253`,
          }),
        ]),
  ];
}

async function running(resolver: Resolver, names: readonly string[]): Promise<Check> {
  const hint = 'run `vpcctl repair`; what it said is in logs/resolver.log of the state directory';
  try {
    const reply = await resolver.look();
    if (reply === undefined) return warning(NAME, `it does not run: nobody answers ${those(names)}`, { hint });
    const silent = names.flatMap((name) => {
      const why = reply.serving[name];
      return why === null ? [] : [`${name} (${why ?? 'it was not told of it'})`];
    });
    if (silent.length > 0) return warning(NAME, `it does not answer ${those(silent)}`, { hint });
    return { name: NAME, status: 'ok', detail: `process ${reply.pid} answers ${those(names)}` };
  } catch (error) {
    if (!(error instanceof VpcctlError)) throw error;
    return warning(NAME, error.message, { hint });
  }
}

const MOST_NAMED = 5;

function those(names: readonly string[]): string {
  const more = names.length > MOST_NAMED ? ` and ${names.length - MOST_NAMED} more` : '';
  return `${names.length === 1 ? 'vpc' : 'VPCs'} ${names.slice(0, MOST_NAMED).join(', ')}${more}`;
}
