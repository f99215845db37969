/** `apply-policy`, `show-policy`, `clear-policy`. */
import type { Command } from 'commander';
import type { PolicyFile, SubnetView } from '../../index.js';
import { UsageError } from '../failure.js';
import { nameOf } from '../files.js';
import { type Cut, cutOption, type DryRun, dryRunOption } from '../options.js';
import { policyLines } from '../render.js';
import type { Session } from '../session.js';

interface ApplyPolicyOptions extends DryRun, Cut {
  readonly vpc: string;
  readonly subnet?: string;
  readonly policy: string;
}

interface ShowPolicyOptions {
  readonly vpc: string;
  readonly subnet?: string;
}

interface ClearPolicyOptions extends DryRun, Cut {
  readonly vpc: string;
  readonly subnet: string;
}

function policyText(vpc: string, { name, policy }: SubnetView): string[] {
  if (policy === null) return [`subnet ${vpc}/${name}: no policy, security groups decide`];
  return [`subnet ${vpc}/${name}:`, ...policyLines(policy).map((line) => `  ${line}`)];
}

async function readPolicies(session: Session, file: string): Promise<PolicyFile[]> {
  const text = await session.readText(file);
  const { parsePolicyFile } = await import('../../index.js');
  return parsePolicyFile(text, { file: nameOf(file) });
}

export function addPolicies(program: Command, session: Session): void {
  program
    .command('apply-policy')
    .description("set a subnet's policy: ordered allow and deny rules")
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .option('--subnet <name>', 'the subnet (default: as each policy of the file says, by name or block)')
    .requiredOption('--policy <file>', 'JSON or YAML: a policy or a list of them; - is standard input')
    .addOption(cutOption())
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
The first rule that matches decides; what none names is denied in a direction that has a list.

Example:
  vpcctl apply-policy --vpc a --subnet web --policy policy.json`,
    )
    .action(async (options: ApplyPolicyOptions) => {
      const { vpc, subnet, policy: file } = options;
      const policies = await readPolicies(session, file);
      if (policies.length > 1 && subnet !== undefined && policies.some((policy) => policy.subnet === undefined)) {
        throw new UsageError(
          `${nameOf(file)} holds ${policies.length} policies, and --subnet names one subnet`,
          'name a subnet in each policy, or keep one',
        );
      }
      const change = async () =>
        session.change(
          (tx) => {
            for (const policy of policies) tx.applyPolicy(vpc, subnet, policy);
          },
          options,
          (result, library) => {
            const { subnets } = library.inspect(vpc);
            const named = (policy: PolicyFile) =>
              subnets.find((one) => one.name === (subnet ?? policy.subnet) || one.cidr === policy.subnet);
            const targets = [...new Set(policies.flatMap((policy) => named(policy) ?? []))];
            const changed = new Set(result.changes.map(({ resource }) => resource));
            return {
              text: targets.flatMap((target) => {
                const what = changed.has(`subnet ${vpc}/${target.name}`) ? 'applied:' : 'unchanged:';
                const [first = '', ...rules] = policyText(vpc, target);
                return [`${what} ${first}`, ...rules];
              }),
              json: { policies: targets.map(({ name, cidr, policy }) => ({ vpc, subnet: name, cidr, policy })) },
            };
          },
        );
      await session.blaming(file, change);
    });

  program
    .command('show-policy')
    .description('show the policies of a VPC, or of one subnet')
    .requiredOption('--vpc <name>', 'the VPC')
    .option('--subnet <name>', 'only this subnet')
    .action(async ({ vpc, subnet }: ShowPolicyOptions) => {
      const library = await session.open();
      // Says what is wrong with a name that is not there.
      if (subnet !== undefined) library.policy(vpc, subnet);
      const shown = library.inspect(vpc).subnets.filter(({ name }) => subnet === undefined || name === subnet);
      session.print({
        json: { policies: shown.map(({ name, cidr, policy }) => ({ vpc, subnet: name, cidr, policy })) },
        text: () => (shown.length === 0 ? [`vpc ${vpc} has no subnets`] : shown.flatMap((one) => policyText(vpc, one))),
      });
    });

  program
    .command('clear-policy')
    .description('take the policy of a subnet away: security groups decide again')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--subnet <name>', 'the subnet')
    .addOption(cutOption())
    .addOption(dryRunOption())
    .action(async (options: ClearPolicyOptions) => {
      const { vpc, subnet } = options;
      await session.remove(
        (tx) => tx.clearPolicy(vpc, subnet),
        options,
        `cleared the policy of subnet ${vpc}/${subnet}`,
        `subnet ${vpc}/${subnet} has no policy: nothing to clear`,
      );
    });
}
