/** What this machine has and lacks: each feature tried for real, in a namespace of the doctor's own that is gone afterwards. */
import { accessSync, constants, existsSync, readFileSync } from 'node:fs';
import { release } from 'node:os';
import { VpcctlError } from '../errors.js';
import type { Kernel } from '../kernel/kernel.js';
import { nftPath, runNft } from '../kernel/nft.js';
import type { Change } from '../objects/change.js';
import { type KernelObject, NETNS_DIR, NFT_TABLE } from '../objects/kernel-object.js';
import { hostFacts } from './engine.js';

/** One finding. */
export interface Check {
  readonly name: string;
  /** `missing`: vpcctl cannot work; `warning`: part of it cannot, or will not work well. */
  readonly status: 'ok' | 'warning' | 'missing';
  readonly detail: string;
  /** The smallest thing to do about it. */
  readonly hint?: string;
}

export interface DoctorReport {
  /** Nothing is missing. */
  readonly ok: boolean;
  readonly checks: readonly Check[];
}

/** libnftables' JSON knows concatenated intervals and `ct status` from 1.0.2 on; tested with 1.0.6. */
const NFT_OLDEST: readonly [number, number, number] = [1, 0, 2];
const CAP_NET_ADMIN = 12n;
const CAP_SYS_ADMIN = 21n;

/** Examines this machine. Changes nothing that stays. `kernel`: in place of this machine's. */
export async function doctor(options: { readonly kernel?: Kernel } = {}): Promise<DoctorReport> {
  const checks: Check[] = [node(), privileges(), directory(), await nft()];
  const kernel = options.kernel ?? (await loadKernel(checks));
  if (kernel !== undefined && checks.every(({ status }) => status !== 'missing')) {
    checks.push(...(await kernelFeatures(kernel)), await uplink(kernel), neighbours());
  }
  return { ok: checks.every(({ status }) => status !== 'missing'), checks };
}

async function loadKernel(checks: Check[]): Promise<Kernel | undefined> {
  try {
    const kernel = new (await import('../kernel/real.js')).RealKernel();
    checks.push({ name: 'native addon', status: 'ok', detail: 'loads' });
    return kernel;
  } catch (error) {
    checks.push(missing('native addon', error));
    return undefined;
  }
}

function missing(name: string, error: unknown): Check {
  if (!(error instanceof VpcctlError)) throw error;
  const { hint, extack } = error.facts;
  const detail = extack === undefined ? error.message : `${error.message}: ${extack}`;
  return { name, status: 'missing', detail, ...(hint === undefined ? {} : { hint }) };
}

function node(): Check {
  return { name: 'node', status: 'ok', detail: `${process.version}, Linux ${release()}, ${process.arch}` };
}

function privileges(): Check {
  const name = 'privileges';
  const effective = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'latin1'))?.[1] ?? '0';
  const caps = BigInt(`0x${effective}`);
  const lacks = [
    ...(caps & (1n << CAP_NET_ADMIN) ? [] : ['CAP_NET_ADMIN']),
    ...(caps & (1n << CAP_SYS_ADMIN) ? [] : ['CAP_SYS_ADMIN']),
  ];
  if (lacks.length === 0) return { name, status: 'ok', detail: 'CAP_NET_ADMIN and CAP_SYS_ADMIN' };
  return {
    name,
    status: 'missing',
    detail: `without ${lacks.join(' and ')}`,
    hint: 'run as root, or in a user namespace of your own: unshare -rnm (see the README)',
  };
}

function directory(): Check {
  const name = 'namespace directory';
  const dir = existsSync(NETNS_DIR) ? NETNS_DIR : '/run';
  try {
    accessSync(dir, constants.W_OK);
    return { name, status: 'ok', detail: `${dir} is writable` };
  } catch {
    return {
      name,
      status: 'missing',
      detail: `${dir} is not writable`,
      hint: 'run as root, or mount a tmpfs over /run in your own mount namespace',
    };
  }
}

async function nft(): Promise<Check> {
  const name = 'nft';
  try {
    const path = nftPath();
    const { stdout, refusal } = await runNft('', ['--version']);
    const version = /v(\d+)\.(\d+)(?:\.(\d+))?/
      .exec(stdout)
      ?.slice(1)
      .map((part) => Number(part ?? 0));
    if (version === undefined) {
      return {
        name,
        status: 'missing',
        detail: refusal ?? `${path} tells no version`,
        hint: 'install nftables 1.0.2 or later',
      };
    }
    const detail = `${version.join('.')} at ${path}`;
    if (
      NFT_OLDEST.some(
        (part, at) => (version[at] ?? 0) < part && NFT_OLDEST.slice(0, at).every((same, i) => version[i] === same),
      )
    ) {
      return { name, status: 'missing', detail, hint: `install nftables ${NFT_OLDEST.join('.')} or later` };
    }
    return { name, status: 'ok', detail };
  } catch (error) {
    return missing(name, error);
  }
}

/** What each feature needs of the kernel, as rows to make; `needs`: the module or option behind it. */
function features(ns: string): { name: string; rows: KernelObject[]; needs: string }[] {
  const link = { kind: 'link', ns, mtu: 1500, alias: 'vpcctl:doctor' } as const;
  const at = { ns, family: 'inet', table: NFT_TABLE } as const;
  const bridgeAt = { ns, family: 'bridge', table: NFT_TABLE } as const;
  return [
    { name: 'network namespaces', needs: 'CONFIG_NET_NS', rows: [{ kind: 'netns', ns }] },
    {
      name: 'bridges',
      needs: 'CONFIG_BRIDGE (module bridge)',
      rows: [{ ...link, name: 'br0', type: 'bridge', mac: '06:00:00:00:00:01' }],
    },
    {
      name: 'veth pairs, isolated bridge ports',
      needs: 'CONFIG_VETH (module veth), Linux 4.18',
      rows: [
        {
          ...link,
          name: 'p0',
          type: 'veth',
          mac: '06:00:00:00:00:02',
          peer: { ns, name: 'p1' },
          master: 'br0',
          isolated: true,
        },
        { ...link, name: 'p1', type: 'veth', mac: '06:00:00:00:00:03', peer: { ns, name: 'p0' } },
      ],
    },
    {
      name: 'proxy ARP for isolated ports',
      needs: 'CONFIG_SYSCTL',
      rows: [{ kind: 'sysctl', ns, key: 'net/ipv4/conf/br0/proxy_arp_pvlan', value: '1' }],
    },
    {
      name: 'policy routing',
      needs: 'CONFIG_IP_MULTIPLE_TABLES',
      rows: [{ kind: 'rule', ns, priority: 33000, from: '10.0.0.0/24', table: 100 }],
    },
    {
      name: 'nftables, inet family',
      needs: 'CONFIG_NF_TABLES_INET (module nf_tables)',
      rows: [{ kind: 'nft-table', ...at }],
    },
    {
      name: 'nftables, sets of concatenated ranges',
      needs: 'Linux 5.6',
      rows: [
        {
          kind: 'nft-set',
          ...at,
          set: 'probe',
          type: ['mark', 'ipv4_addr', 'inet_proto', 'inet_service'],
          interval: true,
        },
        { kind: 'nft-element', ...at, set: 'probe', key: [1, '10.0.0.0/8', 6, '80-90'] },
      ],
    },
    {
      name: 'nftables, NAT and connection tracking',
      needs: 'CONFIG_NFT_NAT, CONFIG_NFT_CT (modules nft_nat, nft_ct, nft_chain_nat)',
      rows: [
        { kind: 'nft-table', ns, family: 'ip', table: NFT_TABLE },
        {
          kind: 'nft-chain',
          ns,
          family: 'ip',
          table: NFT_TABLE,
          chain: 'nat',
          base: { type: 'nat', hook: 'postrouting', prio: 100, policy: 'accept' },
        },
        {
          kind: 'nft-rule',
          ns,
          family: 'ip',
          table: NFT_TABLE,
          chain: 'nat',
          index: 0,
          expr: [
            { match: { op: 'in', left: { ct: { key: 'state' } }, right: [2, 4] } },
            { snat: { addr: '192.0.2.1' } },
          ],
        },
      ],
    },
    {
      name: 'nftables, bridge family',
      needs: 'CONFIG_NF_TABLES_BRIDGE',
      rows: [
        { kind: 'nft-table', ...bridgeAt },
        {
          kind: 'nft-chain',
          ...bridgeAt,
          chain: 'pre',
          base: { type: 'filter', hook: 'prerouting', prio: -300, policy: 'drop' },
        },
      ],
    },
  ];
}

/** Tries the features one after the other, in a namespace made for it; what one makes the next may use. */
async function kernelFeatures(kernel: Kernel): Promise<Check[]> {
  const ns = `vpcctl-doctor-${process.pid}`;
  const checks: Check[] = [];
  const made = await kernel.prepareDirectory();
  try {
    for (const { name, rows, needs } of features(ns)) {
      const failure = await kernel.apply(rows.map((row): Change => ({ op: 'create', row })));
      if (failure === undefined) checks.push({ name, status: 'ok', detail: 'works' });
      else {
        const { errno, extack } = failure.error.facts;
        const words = [errno, extack].filter((word) => word !== undefined).join(', ');
        checks.push({ name, status: 'missing', detail: words, hint: `needs ${needs}` });
        if (rows.some(({ kind }) => kind === 'netns')) break;
      }
    }
  } finally {
    await kernel.apply([{ op: 'delete', row: { kind: 'netns', ns } }], { tolerant: true });
    if (made) await kernel.releaseDirectory();
  }
  return checks;
}

async function uplink(kernel: Kernel): Promise<Check> {
  const name = 'uplink';
  const { defaultLink, linkMtu } = hostFacts(await kernel.host());
  if (defaultLink !== undefined)
    return { name, status: 'ok', detail: `${defaultLink}, MTU ${linkMtu.get(defaultLink)}` };
  return {
    name,
    status: 'warning',
    detail: 'the host has no default route: public subnets need an uplink',
    hint: 'name it with --uplink LINK, or use --uplink none',
  };
}

/** The neighbour table is one for the whole kernel (net/ipv4/neigh/default, seen in the first namespace only). */
function neighbours(): Check {
  const name = 'neighbour table';
  const path = '/proc/sys/net/ipv4/neigh/default/gc_thresh3';
  const most = existsSync(path) ? Number(readFileSync(path, 'latin1')) : undefined;
  if (most === undefined) return { name, status: 'ok', detail: 'its limit is not visible from this namespace' };
  if (most >= 4096) return { name, status: 'ok', detail: `up to ${most} learnt entries` };
  return {
    name,
    status: 'warning',
    detail: `up to ${most} learnt entries in the whole kernel; workloads of one subnet that talk to each other learn one each`,
    hint: 'for more than some hundred busy workloads, raise net.ipv4.neigh.default.gc_thresh1, 2 and 3',
  };
}
