/** A command run in this process, with a terminal and a library of the test's own. */
import { PassThrough, Readable } from 'node:stream';
import type { Host, Library } from '../../../src/cli/host.js';
import { run } from '../../../src/cli/program.js';
import type { OpenOptions, PlanView, VpcctlEvent, VpcView } from '../../../src/index.js';

export interface Outcome {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  /** What the library was opened with, once for each time. */
  readonly opened: readonly OpenOptions[];
}

export interface Setting {
  /** What the command calls; calling anything else fails. Without it, opening the library fails. */
  readonly library?: Partial<Library>;
  /** What it tells of as soon as it is open. */
  readonly events?: readonly VpcctlEvent[];
  readonly stdin?: string;
  /** All three streams are terminals. */
  readonly terminal?: boolean;
  readonly env?: Readonly<Record<string, string>>;
  readonly signal?: AbortSignal;
}

class Sink extends PassThrough {
  readonly isTTY: boolean;
  text = '';

  constructor(isTTY: boolean) {
    super();
    this.isTTY = isTTY;
    this.on('data', (chunk: Buffer) => {
      this.text += chunk.toString();
    });
  }
}

function libraryOf(part: Partial<Library>): Library {
  const complete: Partial<Library> = { close: async () => {}, ...part };
  return new Proxy(complete, {
    get(target, key) {
      // A promise is asked for this when it is resolved with the library.
      if (key === 'then') return undefined;
      const member = target[key as keyof Library];
      if (member === undefined) throw new Error(`the command was not to call ${String(key)}`);
      return member;
    },
  }) as Library;
}

export async function vpcctl(argv: readonly string[], setting: Setting = {}): Promise<Outcome> {
  const {
    library,
    events = [],
    stdin = '',
    terminal = false,
    env = {},
    signal = new AbortController().signal,
  } = setting;
  const stdout = new Sink(terminal);
  const stderr = new Sink(terminal);
  const opened: OpenOptions[] = [];
  const host: Host = {
    env,
    stdin: Object.assign(Readable.from(stdin === '' ? [] : [stdin]), { isTTY: terminal }),
    stdout,
    stderr,
    signal,
    yieldTerminal: () => {},
    open: async (options) => {
      opened.push(options);
      if (library === undefined) throw new Error('the command was not to open the library');
      for (const event of events) options.onEvent?.(event);
      return libraryOf(library);
    },
  };
  const exitCode = await run(argv, host);
  await new Promise(setImmediate);
  return { exitCode, stdout: stdout.text, stderr: stderr.text, opened };
}

export const EMPTY_PLAN: PlanView = { changes: [], kernel: { create: 0, update: 0, delete: 0 } };

export const VPC_A: VpcView = {
  name: 'a',
  cidrs: ['10.1.0.0/16'],
  ipv6Cidr: null,
  mtu: 1500,
  namespace: 'vpc.a',
  dns: null,
  subnets: [
    {
      name: 'db',
      cidr: '10.1.2.0/24',
      ipv6Cidr: null,
      gateway: '10.1.2.1',
      kind: 'private',
      routeTable: 'main',
      networkAcl: null,
      reachableFromHost: false,
      policy: null,
      instances: [],
    },
    {
      name: 'web',
      cidr: '10.1.1.0/24',
      ipv6Cidr: null,
      gateway: '10.1.1.1',
      kind: 'public',
      routeTable: 'public',
      networkAcl: 'edge',
      reachableFromHost: true,
      policy: {
        ingress: [
          { protocol: 'tcp', port: 80, action: 'accept' },
          { protocol: 'tcp', port: 22, action: 'drop', source: '10.0.0.0/8', description: 'No\nshell' },
        ],
      },
      instances: [
        {
          name: 'web',
          subnet: 'web',
          ip: '10.1.1.4',
          ipv6: null,
          secondaryIps: [],
          publicIp: '198.51.100.7',
          elasticIp: null,
          publish: [],
          shaping: null,
          namespace: 'vpc.a.web',
          securityGroups: ['default', 'site'],
        },
      ],
    },
  ],
  routeTables: [],
  natGateways: [],
  egressOnlyInternetGateway: false,
  networkAcls: [
    {
      name: 'edge',
      subnets: ['web'],
      ingress: [
        { number: 100, action: 'allow', protocol: 'tcp', port: 443, cidr: '0.0.0.0/0' },
        { number: 200, action: 'deny', protocol: 'icmp', icmpType: 8, icmpCode: 0, cidr: '10.0.0.0/8' },
      ],
      egress: [],
    },
  ],
  securityGroups: [
    {
      name: 'site',
      description: null,
      ingress: [
        { protocol: 'tcp', port: 443 },
        { protocol: 'icmp', from: { group: 'default' } },
      ],
      egress: [{ to: 'vpc' }],
    },
  ],
  peers: ['b'],
};

export const VPC_B: VpcView = {
  name: 'b',
  cidrs: ['10.2.0.0/16', '10.3.0.0/16'],
  ipv6Cidr: null,
  mtu: 1500,
  namespace: 'vpc.b',
  dns: null,
  subnets: [],
  routeTables: [],
  natGateways: [],
  egressOnlyInternetGateway: false,
  networkAcls: [],
  securityGroups: [],
  peers: ['a'],
};
