/** `analyze`, `matrix`: who reaches whom by the rules, without a packet. */
import type { Command } from 'commander';
import type { Analysis, MatrixQuery, Query } from '../../index.js';
import { analysisText, matrixText, type Probed, probeText } from '../analysis-text.js';
import { writeText } from '../files.js';
import type { Library } from '../host.js';
import { readFilled, readList, readPort } from '../options.js';
import type { Session } from '../session.js';

/** Exit status: not reachable. */
export const UNREACHABLE = 10;
/** Exit status: a real packet did otherwise. */
export const DISAGREES = 11;

interface Traffic {
  readonly protocol?: string;
  readonly port?: number;
}

function withTraffic(command: Command): Command {
  return command
    .option(
      '--protocol <protocol>',
      'tcp, udp, icmp (an echo request; of IPv6 icmpv6) or a number (default: tcp with --port, else icmp)',
      readFilled,
    )
    .option('--port <port>', 'of the destination; only with tcp and udp', readPort);
}

function trafficOf({ protocol, port }: Traffic): Pick<Query, 'protocol' | 'port'> {
  return { ...(protocol === undefined ? {} : { protocol }), ...(port === undefined ? {} : { port }) };
}

async function probe(session: Session, library: Library, query: Query, analysis: Analysis): Promise<Probed> {
  const { agreement } = await import('../../index.js');
  const result = await library.probe(query, { signal: session.signal });
  const { query: _same, ...told } = result;
  return { agrees: agreement(analysis, result), ...told };
}

/** What `analyze` takes, one a line: nothing is worked out, so that a shell can ask. */
function printEnds(session: Session, library: Library, vpcs: readonly string[] | undefined): void {
  const found = vpcs === undefined ? library.list().vpcs : vpcs.map((name) => library.inspect(name));
  const instances = found.flatMap(({ name, subnets }) =>
    subnets.flatMap((subnet) => subnet.instances.map((instance) => `${name}/${instance.name}`)),
  );
  session.write([...instances.sort(), 'internet', 'host'].map((end) => `${end}\n`).join(''));
}

export function addAnalysis(program: Command, session: Session): void {
  withTraffic(
    program
      .command('analyze')
      .description(
        `say whether a packet gets there and its answer back, and what decides that; exit with ${UNREACHABLE} when not`,
      )
      .argument('<source>', 'VPC/INSTANCE, internet, internet:ADDRESS or host')
      .argument('<destination>', 'the same, VPC/INSTANCE@public, VPC/INSTANCE@ipv6, or an address'),
  )
    .option('--probe', `send a real packet too; exit with ${DISAGREES} when it does otherwise than the rules say`)
    .addHelpText(
      'after',
      `
By the recorded rules alone: nothing is sent, and the kernel is not asked (see drift). With --probe a packet is sent from
an instance or the host, and a listener awaits it at the destination, unless a program has the port; nothing of it stays.

  VPC/INSTANCE         by its private address; from the internet by its public one
  VPC/INSTANCE@public  by its public address
  VPC/INSTANCE@ipv6    by its IPv6 address; the source's is then that too
  internet             any address outside that no rule singles out; internet@ipv6 of IPv6
  ADDRESS              whoever has it as the source sees it

Examples:
  vpcctl analyze a/web a/db --port 5432
  vpcctl analyze internet a/web --port 443
  vpcctl analyze a/web 8.8.8.8 --protocol udp --port 53
  vpcctl analyze a/web b/db --port 5432 --probe
  vpcctl analyze a/web a/db@ipv6 --port 5432`,
    )
    .action(async (source: string, destination: string, options: Traffic & { probe?: boolean }) => {
      const library = await session.open();
      const query = { source, destination, ...trafficOf(options) };
      const analysis = library.analyze(query);
      const probed = options.probe === true ? await probe(session, library, query, analysis) : undefined;
      session.print({
        json: probed === undefined ? analysis : { ...analysis, probe: probed },
        text: () => {
          const lines = analysisText(analysis, session.colors);
          const told = session.quiet ? lines.slice(0, 1) : lines;
          return probed === undefined ? told : [...told, ...probeText(probed, analysis, session)];
        },
      });
      if (probed?.agrees === false) session.exitCode = DISAGREES;
      else if (!analysis.reachable) session.exitCode = UNREACHABLE;
    });

  withTraffic(
    program
      .command('matrix')
      .description(
        'show who reaches whom: every two instances, the internet and the host; with --quiet the names of these',
      )
      .option('--vpc <name...>', 'only instances of these VPCs (default: all)', readList)
      .option('--ipv6', 'by IPv6 addresses'),
  )
    .option('--svg <file>', 'write it as a picture too', readFilled)
    .addHelpText(
      'after',
      `
Examples:
  vpcctl matrix
  vpcctl matrix --vpc a --vpc b --port 443 --svg reach.svg`,
    )
    .action(async (options: Traffic & { vpc?: readonly string[]; ipv6?: boolean; svg?: string }) => {
      const { vpc, svg, ipv6 } = options;
      if (svg !== undefined) session.needProcess();
      const library = await session.open();
      const query: MatrixQuery = {
        ...(vpc === undefined ? {} : { vpcs: vpc }),
        ...(ipv6 === undefined ? {} : { ipv6 }),
        ...trafficOf(options),
      };
      if (session.quiet && !session.json && svg === undefined) return printEnds(session, library, vpc);
      const found = library.matrix(query);
      if (svg !== undefined) {
        const { matrixSvg } = await import('../matrix-svg.js');
        await writeText(svg, matrixSvg(found));
      }
      session.print({
        json: found,
        text: () => [...matrixText(found, session.colors), ...(svg === undefined ? [] : [`wrote ${svg}`])],
      });
    });
}
