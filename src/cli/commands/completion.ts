/** `completion`: a script for the shell. */
import { Argument, type Command } from 'commander';
import { completionScript, SHELLS, type Shell } from '../completion.js';
import type { Session } from '../session.js';

export function addCompletion(program: Command, session: Session): void {
  program
    .command('completion')
    .description('print the completion script of a shell')
    .addArgument(new Argument('<shell>', 'the shell').choices(SHELLS))
    .addHelpText(
      'after',
      `
Examples:
  source <(vpcctl completion bash)
  vpcctl completion zsh > ~/.zfunc/_vpcctl
  vpcctl completion fish > ~/.config/fish/completions/vpcctl.fish`,
    )
    .action((shell: Shell) => session.write(completionScript(program, shell)));
}
