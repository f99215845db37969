/** `put-security-group`, `delete-security-group`. */
import type { Command } from 'commander';
import { nameOf } from '../files.js';
import { type Cut, cutOption, type DryRun, dryRunOption } from '../options.js';
import type { Session } from '../session.js';
import { count } from '../text.js';
import { verbOf } from './vpc.js';

interface PutGroupOptions extends DryRun, Cut {
  readonly vpc: string;
  readonly name: string;
  readonly rules: string;
}

interface DeleteGroupOptions extends DryRun {
  readonly vpc: string;
  readonly name: string;
}

export function addGroups(program: Command, session: Session): void {
  program
    .command('put-security-group')
    .description('create a security group, or replace its rules')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--name <name>', 'name of the group')
    .requiredOption('--rules <file>', 'YAML or JSON with ingress and egress lists; - is standard input')
    .addOption(cutOption())
    .addOption(dryRunOption())
    .addHelpText(
      'after',
      `
Example:
  echo '{"ingress": [{"protocol": "tcp", "port": 443, "from": "any"}]}' |
    vpcctl put-security-group --vpc a --name web --rules -`,
    )
    .action(async (options: PutGroupOptions) => {
      const { vpc, name, rules } = options;
      const text = await session.readText(rules);
      const { parseSecurityGroupFile } = await import('../../index.js');
      const spec = await parseSecurityGroupFile(text, { file: nameOf(rules) });
      const change = async () =>
        session.change(
          (tx) => tx.putSecurityGroup(vpc, name, spec),
          options,
          (result, library) => {
            const group = library.inspect(vpc).securityGroups.find((one) => one.name === name) ?? null;
            const verb = verbOf(result, `security group ${vpc}/${name}`);
            const rulesText = `${count(group?.ingress.length ?? 0, 'ingress rule')}, ${count(group?.egress.length ?? 0, 'egress rule')}`;
            return {
              text: [`${verb === 'unchanged' ? 'unchanged:' : verb} security group ${vpc}/${name}  ${rulesText}`],
              json: { securityGroup: group },
            };
          },
        );
      await session.blaming(rules, change);
    });

  program
    .command('delete-security-group')
    .description('delete a security group')
    .requiredOption('--vpc <name>', 'VPC it belongs to')
    .requiredOption('--name <name>', 'name of the group')
    .addOption(dryRunOption())
    .action(async (options: DeleteGroupOptions) => {
      const { vpc, name } = options;
      await session.remove(
        (tx) => tx.deleteSecurityGroup(vpc, name),
        options,
        `deleted security group ${vpc}/${name}`,
        `no security group ${name} in VPC ${vpc}: nothing to delete`,
      );
    });
}
