/**
 * The installation as a picture: the internet and the edge above, the VPCs in a row below them with their subnets, instances and gateways,
 * and under the row a lane for each peering and each transit gateway. It follows the reader's light or dark theme; what does not fit into
 * a line of the picture (rules, routes) is in the titles that a browser shows under the pointer.
 */
import type {
  InstallationView,
  InstanceView,
  NatGatewayView,
  PeeringView,
  RouteTableView,
  RouteView,
  SubnetView,
  TransitGatewayView,
  VpcView,
} from '../index.js';
import { destinationText, targetText } from './render.js';
import { escaped } from './svg.js';

/** So many instances of a subnet are drawn; the others are counted. */
const MOST_INSTANCES = 16;
const MOST_ROUTES = 12;

/** Of a letter in the fixed-width font, and the height of a line. */
const LETTER = 7.3;
const LINE = 19;
const PAD = 12;
const GAP = 28;
const MARGIN = 20;
/** Between two wires of one VPC. */
const WIRE = 18;

const STYLE = `<style>
  .page { fill: #ffffff }
  text { fill: #1f2328 }
  .name { font-weight: 600 }
  .soft { fill: #59636e }
  .bad { fill: #cf222e }
  .box { fill: #f6f8fa; stroke: #818b98 }
  .out { fill: none; stroke: #818b98; stroke-dasharray: 5 4 }
  .public { fill: #ddf4ff; stroke: #0969da }
  .private { fill: #fbefff; stroke: #8250df }
  .gateway { fill: #fff1e5; stroke: #bc4c00 }
  .wire { fill: none; stroke: #59636e; stroke-width: 1.6 }
  .peer { fill: none; stroke: #bc4c00; stroke-width: 1.6; stroke-dasharray: 6 3 }
  .dot { fill: #59636e; stroke: none }
  .peer.dot { fill: #bc4c00 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #0d1117 }
    text { fill: #e6edf3 }
    .soft { fill: #9198a1 }
    .bad { fill: #ff7b72 }
    .box { fill: #161b22; stroke: #656c76 }
    .out { stroke: #656c76 }
    .public { fill: #12263f; stroke: #4493f8 }
    .private { fill: #271b3d; stroke: #a371f7 }
    .gateway { fill: #3d2411; stroke: #db6d28 }
    .wire { stroke: #9198a1 }
    .peer { stroke: #db6d28 }
    .dot { fill: #9198a1 }
    .peer.dot { fill: #db6d28 }
  }
</style>`;

/** A line of a box: words of several classes, each in its column. */
type Line = readonly Word[];
interface Word {
  readonly text: string;
  /** Of the line, in letters. */
  readonly column: number;
  readonly tone?: 'name' | 'soft' | 'bad';
}

/** What a box says, before it has a place. */
interface Panel {
  readonly look: 'box' | 'out' | 'public' | 'private' | 'gateway';
  readonly lines: readonly Line[];
  /** Shown under the pointer. */
  readonly title: string;
  readonly inner: readonly Panel[];
}

interface Size {
  readonly width: number;
  readonly height: number;
}

function lettersOf(line: Line): number {
  return Math.max(0, ...line.map(({ text, column }) => column + text.length));
}

function sizeOf({ lines, inner }: Panel): Size {
  const sizes = inner.map(sizeOf);
  return {
    width: Math.max(...lines.map((line) => lettersOf(line) * LETTER), ...sizes.map(({ width }) => width), 0) + 2 * PAD,
    height: lines.length * LINE + sizes.reduce((sum, { height }) => sum + PAD / 2 + height, 0) + PAD,
  };
}

const round = (value: number): number => Number(value.toFixed(1));

function drawBox(look: string, x: number, y: number, { width, height }: Size, inside: readonly string[]): string[] {
  const place = `x="${round(x)}" y="${round(y)}" width="${round(width)}" height="${round(height)}"`;
  return ['<g>', `<rect class="${look}" ${place} rx="6"/>`, ...inside, '</g>'];
}

function drawLine(line: Line, x: number, y: number): string[] {
  return line.map(({ text, column, tone }) => {
    const look = tone === undefined ? '' : ` class="${tone}"`;
    return `<text${look} x="${round(x + column * LETTER)}" y="${round(y)}">${escaped(text)}</text>`;
  });
}

function drawPanel(panel: Panel, x: number, y: number, width: number): string[] {
  const { lines, inner, look, title } = panel;
  const inside = [
    ...(title === '' ? [] : [`<title>${escaped(title)}</title>`]),
    ...lines.flatMap((line, at) => drawLine(line, x + PAD, y + PAD / 2 + at * LINE + 14)),
  ];
  let top = y + PAD / 2 + lines.length * LINE;
  for (const one of inner) {
    inside.push(...drawPanel(one, x + PAD, top + PAD / 2, width - 2 * PAD));
    top += PAD / 2 + sizeOf(one).height;
  }
  return drawBox(look, x, y, { width, height: sizeOf(panel).height }, inside);
}

// --- what is in a VPC --------------------------------------------------------------------------------------------------

/** Words one after the other, two letters between them. */
function words(...all: readonly (Omit<Word, 'column'> | undefined)[]): Line {
  let column = 0;
  return all.flatMap((word) => {
    if (word === undefined || word.text === '') return [];
    const at = column;
    column += word.text.length + 2;
    return [{ ...word, column: at }];
  });
}

const soft = (text: string) => ({ text, tone: 'soft' as const });
const name = (text: string) => ({ text, tone: 'name' as const });

/** Cells of rows, each column as wide as its widest cell. */
function columns(rows: readonly (readonly Omit<Word, 'column'>[])[], indent = 0): Line[] {
  const widths: number[] = [];
  for (const row of rows) {
    for (const [at, { text }] of row.entries()) widths[at] = Math.max(widths[at] ?? 0, text.length);
  }
  return rows.map((row) => {
    let column = indent;
    return row.flatMap((word, at) => {
      const here = column;
      const width = widths[at] ?? 0;
      if (width > 0) column += width + 2;
      return word.text === '' ? [] : [{ ...word, column: here }];
    });
  });
}

function instanceRow({ name: own, ip, ipv6, secondaryIps, publicIp, elasticIp }: InstanceView): Omit<Word, 'column'>[] {
  const elastic = elasticIp === null ? '' : ` (${elasticIp})`;
  const more = secondaryIps.length === 0 ? '' : `+${secondaryIps.length}`;
  return [
    name(own),
    { text: ip },
    { text: ipv6 ?? '' },
    { text: more },
    { text: publicIp === null ? '' : `${publicIp}${elastic}` },
  ];
}

function natPanel(nat: NatGatewayView): Panel {
  const elastic = nat.elasticIp === null ? '' : ` (${nat.elasticIp})`;
  return {
    look: 'gateway',
    lines: [
      words(
        soft('NAT gateway'),
        name(nat.name),
        { text: nat.ip },
        nat.publicIp === null ? soft('private') : { text: `${nat.publicIp}${elastic}` },
      ),
    ],
    title: `NAT gateway ${nat.name}, namespace ${nat.namespace}`,
    inner: [],
  };
}

function subnetPanel(subnet: SubnetView, gateways: readonly NatGatewayView[]): Panel {
  const { instances, kind, routeTable, networkAcl } = subnet;
  const shown = instances.slice(0, MOST_INSTANCES);
  const more = instances.length - shown.length;
  const facts = shown.map(({ name: own, secondaryIps, securityGroups }) => {
    const also = secondaryIps.length === 0 ? '' : `also ${secondaryIps.join(', ')}; `;
    return `${own}: ${also}security groups ${securityGroups.join(', ')}`;
  });
  return {
    look: kind,
    lines: [
      words(name(subnet.name), { text: subnet.cidr }, { text: subnet.ipv6Cidr ?? '' }, soft(kind)),
      words(soft(`route table ${routeTable}`), networkAcl === null ? undefined : soft(`network ACL ${networkAcl}`)),
      ...columns(shown.map(instanceRow)),
      ...(more === 0 ? [] : [words(soft(`and ${more} more`))]),
      ...(instances.length + gateways.length === 0 ? [words(soft('no instances'))] : []),
    ],
    title: [`subnet ${subnet.name}, gateway ${subnet.gateway}`, ...facts].join('\n'),
    inner: gateways.map(natPanel),
  };
}

function tablePanel({ name: own, routes }: RouteTableView): Panel {
  const shown = routes.slice(0, MOST_ROUTES);
  const more = routes.length - shown.length;
  return {
    look: 'box',
    lines: [
      words(soft('route table'), name(own)),
      ...columns(
        shown.map(({ destination, target, blackhole }) => [
          { text: destinationText(destination) },
          { text: targetText(target) },
          { text: blackhole && target !== 'blackhole' ? 'black hole' : '', tone: 'bad' as const },
        ]),
      ),
      ...(more === 0 ? [] : [words(soft(`and ${more} more`))]),
    ],
    title: '',
    inner: [],
  };
}

function vpcPanel(vpc: VpcView): Panel {
  const groups = vpc.securityGroups.map(
    ({ name: own, ingress, egress }) => `security group ${own}: ${ingress.length} rules in, ${egress.length} out`,
  );
  return {
    look: 'box',
    lines: [
      words(soft('VPC'), name(vpc.name), soft(`namespace ${vpc.namespace}`)),
      words(...vpc.cidrs.map((text) => ({ text })), { text: vpc.ipv6Cidr ?? '' }),
    ],
    title: groups.join('\n'),
    inner: [
      ...vpc.subnets.map((subnet) =>
        subnetPanel(
          subnet,
          vpc.natGateways.filter((nat) => nat.subnet === subnet.name),
        ),
      ),
      ...vpc.routeTables.map(tablePanel),
    ],
  };
}

/** One of which only the name is of interest. */
function strangerPanel({ name: own, cidrs }: VpcView): Panel {
  return {
    look: 'box',
    lines: [words(soft('VPC'), name(own)), ...cidrs.map((text) => words({ text }))],
    title: '',
    inner: [],
  };
}

/** Its ways to the internet: something in it may have a public address, or IPv6. */
function gatewaysOf({ subnets, routeTables }: VpcView): string[] {
  const leadsTo = (gateway: RouteView['target']): boolean =>
    routeTables.some(({ routes }) => routes.some(({ target, blackhole }) => target === gateway && !blackhole));
  const isPublic = subnets.some(({ kind }) => kind === 'public') || leadsTo('internet-gateway');
  return [
    ...(isPublic ? ['internet gateway'] : []),
    ...(leadsTo('egress-only-internet-gateway') ? ['egress-only internet gateway'] : []),
  ];
}

// --- what lies between them --------------------------------------------------------------------------------------------

/** What is below the row of VPCs and connects some of them: a transit gateway's box, or a peering's line with words above it. */
interface Lane {
  readonly vpcs: readonly string[];
  readonly body: Panel | string;
}

function peeringLane({ vpcs, allowCidrs, routes }: PeeringView): Lane {
  const only = allowCidrs === null ? '' : `, only ${allowCidrs.join(', ')}`;
  return { vpcs, body: `peering${only}${routes === 'manual' ? ', routes by hand' : ''}` };
}

function transitPanel({ name: own, namespace, attachments, routeTables }: TransitGatewayView): Panel {
  return {
    look: 'gateway',
    lines: [
      words(soft('transit gateway'), name(own), soft(`namespace ${namespace}`)),
      ...routeTables.flatMap((table) => {
        const followers = attachments.filter(({ routeTable }) => routeTable === table.name).map(({ vpc }) => vpc);
        return [
          words(
            soft('route table'),
            name(table.name),
            soft(followers.length === 0 ? '' : `of ${followers.join(', ')}`),
          ),
          ...columns(
            table.routes.map(({ destination, target, blackhole }) => [
              { text: destinationText(destination) },
              { text: target === 'blackhole' ? target : `vpc ${target.vpc}` },
              { text: blackhole && target !== 'blackhole' ? 'black hole' : '', tone: 'bad' as const },
            ]),
            2,
          ),
        ];
      }),
    ],
    title: '',
    inner: [],
  };
}

function transitLane(gateway: TransitGatewayView): Lane {
  return { vpcs: gateway.attachments.map(({ vpc }) => vpc), body: transitPanel(gateway) };
}

/** A VPC in its place. */
interface Placed {
  readonly vpc: VpcView;
  readonly panel: Panel;
  readonly x: number;
  readonly width: number;
  readonly bottom: number;
  /** What connects it; their wires leave its bottom in this order. */
  readonly lanes: readonly Lane[];
}

/** The VPCs in a row, each wide enough for its wires. */
function placeVpcs(panels: readonly (readonly [VpcView, Panel])[], lanes: readonly Lane[], top: number): Placed[] {
  const rank = new Map(panels.map(([vpc], at) => [vpc.name, at]));
  let x = MARGIN;
  return panels.map(([vpc, panel], at) => {
    const own = inOrder(lanes, vpc.name, (name) => Math.sign((rank.get(name) ?? at) - at));
    const { width, height } = sizeOf(panel);
    const placed = { vpc, panel, x, width: Math.max(width, (own.length + 1) * WIRE), bottom: top + height, lanes: own };
    x += placed.width + GAP;
    return placed;
  });
}

/**
 * A VPC's wires, so that they do not cross its lanes, which are the deeper the later they are: first those that come from the left, then
 * those that go both ways, then those that go to the right, the deepest of these first.
 * @param side of another VPC: -1 left, 1 right
 */
function inOrder(lanes: readonly Lane[], vpc: string, side: (vpc: string) => number): Lane[] {
  const own = lanes.filter(({ vpcs }) => vpcs.includes(vpc));
  const goes = (lane: Lane, where: number) => lane.vpcs.some((other) => side(other) === where);
  const rightwards = own.filter((lane) => goes(lane, 1) && !goes(lane, -1));
  const leftwards = own.filter((lane) => goes(lane, -1) && !goes(lane, 1));
  const others = own.filter((lane) => !rightwards.includes(lane) && !leftwards.includes(lane));
  return [...leftwards, ...others, ...rightwards.reverse()];
}

interface Drawn {
  readonly svg: readonly string[];
  readonly right: number;
  readonly bottom: number;
}

/** Each lane below the ones before, or beside them where it does not touch them. */
function drawLanes(lanes: readonly Lane[], placed: readonly Placed[], top: number): Drawn {
  const wires: string[] = [];
  const bodies: string[] = [];
  /** What is taken below the row, from left to right and how far down. */
  const taken: { readonly left: number; readonly right: number; readonly bottom: number }[] = [];
  for (const lane of lanes) {
    const ends = placed.flatMap((one) =>
      one.lanes.includes(lane) ? [{ x: one.x + WIRE * (1 + one.lanes.indexOf(lane)), from: one.bottom }] : [],
    );
    const { body } = lane;
    const first = Math.min(...ends.map(({ x }) => x));
    const last = Math.max(...ends.map(({ x }) => x));
    const size = typeof body === 'string' ? { width: (body.length + 3) * LETTER, height: PAD } : sizeOf(body);
    const left = first - WIRE;
    const width = Math.max(size.width, last - first + 2 * WIRE);
    const right = left + width;
    const above = taken.filter((one) => one.left < right + GAP && left < one.right + GAP);
    const y = Math.max(top, ...above.map(({ bottom }) => bottom));
    taken.push({ left, right, bottom: y + size.height + PAD });
    if (typeof body === 'string') {
      wires.push(...ends.map(({ x, from }) => `<path class="peer" d="M${round(x)} ${round(from)} V${round(y)}"/>`));
      wires.push(`<path class="peer" d="M${round(first)} ${round(y)} H${round(last)}"/>`);
      bodies.push(...ends.map(({ x }) => `<circle class="peer dot" cx="${round(x)}" cy="${round(y)}" r="3"/>`));
      bodies.push(...label(body, first + 8, y - 5));
    } else {
      wires.push(...ends.map(({ x, from }) => `<path class="wire" d="M${round(x)} ${round(from)} V${round(y)}"/>`));
      bodies.push(...drawPanel(body, left, y, width));
    }
  }
  return {
    svg: [...wires, ...bodies],
    right: Math.max(0, ...taken.map(({ right }) => right)),
    bottom: Math.max(top, ...taken.map(({ bottom }) => bottom)),
  };
}

/** Words that a wire may run below. */
function label(text: string, x: number, y: number): string[] {
  return [
    `<rect class="page" x="${round(x - 2)}" y="${round(y - 11)}" width="${round(text.length * LETTER + 4)}" height="14"/>`,
    `<text class="soft" x="${round(x)}" y="${round(y)}">${escaped(text)}</text>`,
  ];
}

function internetPanel(): Panel {
  return { look: 'out', lines: [words(name('internet'))], title: '', inner: [] };
}

/** The border: what leads the public addresses to the VPCs. */
function edgePanel({ edge, publicPool, uplink, elasticIps }: InstallationView): Panel {
  const free = elasticIps.filter(({ association }) => association === null);
  const addresses = free.map(({ name: own, address }) => `${own} ${address}`).join(', ');
  return {
    look: 'box',
    lines: [
      words(name('host'), soft(`uplink ${edge?.uplink ?? uplink}`)),
      words(soft('public addresses'), { text: publicPool }, soft(edge === null ? '' : `namespace ${edge.namespace}`)),
      ...(free.length === 0 ? [] : [words(soft('elastic addresses of nothing'), { text: addresses })]),
    ],
    title: '',
    inner: [],
  };
}

function connected(view: InstallationView, vpc: string): Set<string> {
  const peers = view.peerings.filter(({ vpcs }) => vpcs.includes(vpc)).flatMap(({ vpcs }) => vpcs);
  const attached = view.transitGateways
    .map(({ attachments }) => attachments.map((attachment) => attachment.vpc))
    .filter((vpcs) => vpcs.includes(vpc));
  return new Set([vpc, ...peers, ...attached.flat()]);
}

/** @param only a VPC to draw with what connects it; of those at the other ends only the names. Default: everything. */
export function topologySvg(view: InstallationView, only?: string): string {
  const within = only === undefined ? undefined : connected(view, only);
  const vpcs = view.vpcs.filter(({ name: own }) => within?.has(own) ?? true);
  const lanes = [...view.peerings.map(peeringLane), ...view.transitGateways.map(transitLane)].filter(
    (lane) => lane.vpcs.length > 0 && (only === undefined || lane.vpcs.includes(only)),
  );
  const alone = only === undefined ? view.transitGateways.filter(({ attachments }) => attachments.length === 0) : [];
  const outside = vpcs.some((vpc) => gatewaysOf(vpc).length > 0);
  const [internet, edge] = [internetPanel(), edgePanel(view)];
  const [high, low] = [sizeOf(internet).height, sizeOf(edge).height];
  const edgeTop = MARGIN + high + GAP;
  const top = outside ? edgeTop + low + 2 * GAP : MARGIN;
  const panels = vpcs.map(
    (vpc) => [vpc, only === undefined || vpc.name === only ? vpcPanel(vpc) : strangerPanel(vpc)] as const,
  );
  const placed = placeVpcs(panels, lanes, top);
  const row = {
    right: Math.max(MARGIN, ...placed.map(({ x, width }) => x + width)),
    bottom: Math.max(top, ...placed.map(({ bottom }) => bottom)),
  };
  const below = drawLanes(lanes, placed, row.bottom + GAP);
  const bar = Math.max(row.right - MARGIN, sizeOf(edge).width);
  const loose = drawLoose(alone, below.bottom);
  const width = Math.ceil(Math.max(row.right, below.right, loose.right, outside ? MARGIN + bar : 0, 320) + MARGIN);
  const height = Math.ceil(loose.bottom + MARGIN);
  return `${[
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" font-family="ui-monospace, Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="12">`,
    STYLE,
    `<rect class="page" width="${width}" height="${height}"/>`,
    ...(outside
      ? [
          `<path class="wire" d="M${MARGIN + WIRE} ${MARGIN + high} V${edgeTop}"/>`,
          ...placed.flatMap(({ vpc, x }) => gatewayWire(gatewaysOf(vpc), x + WIRE, edgeTop + low, top)),
          ...drawPanel(internet, MARGIN, MARGIN, bar),
          ...drawPanel(edge, MARGIN, edgeTop, bar),
        ]
      : []),
    ...(vpcs.length === 0 ? [`<text class="soft" x="${MARGIN}" y="${top + 14}">no VPCs</text>`] : []),
    ...placed.flatMap(({ panel, x, width: own }) => drawPanel(panel, x, top, own)),
    ...below.svg,
    ...loose.svg,
    '</svg>',
  ].join('\n')}\n`;
}

function gatewayWire(gateways: readonly string[], x: number, from: number, to: number): string[] {
  if (gateways.length === 0) return [];
  return [
    `<path class="wire" d="M${round(x)} ${round(from)} V${round(to)}"/>`,
    `<text class="soft" x="${round(x + 8)}" y="${round((from + to) / 2 + 4)}">${gateways.join(', ')}</text>`,
  ];
}

/** Transit gateways that nothing is attached to. */
function drawLoose(gateways: readonly TransitGatewayView[], top: number): Drawn {
  let [y, right] = [top, 0];
  const svg = gateways.flatMap((gateway) => {
    const panel = transitPanel(gateway);
    const { width, height } = sizeOf(panel);
    const drawn = drawPanel(panel, MARGIN, y, width);
    y += height + GAP / 2;
    right = Math.max(right, MARGIN + width);
    return drawn;
  });
  return { svg, right, bottom: y };
}
