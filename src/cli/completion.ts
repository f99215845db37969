/** Completion scripts, made from the tree of commands, so that they know what the command knows. */
import type { Command, Option } from 'commander';

export const SHELLS = ['bash', 'zsh', 'fish'] as const;
export type Shell = (typeof SHELLS)[number];

/** What can stand after an option: nothing to be said, a file, a directory, a VPC, an end of a packet's way, or one of some words. */
type Value = 'none' | 'text' | 'file' | 'directory' | 'vpc' | 'end' | readonly string[];

interface OptionView {
  readonly flags: readonly string[];
  readonly description: string;
  readonly value: Value;
}

interface CommandView {
  readonly name: string;
  readonly description: string;
  readonly options: readonly OptionView[];
  readonly argument: Value;
}

function valueAfter(command: string, option: Option): Value {
  if (!option.required && !option.optional) return 'none';
  if (option.argChoices !== undefined) return option.argChoices;
  if (option.flags.includes('<file>')) return 'file';
  if (option.flags.includes('<dir>')) return 'directory';
  const isVpc = /^--vpc[12]?$/.test(option.long ?? '') || (command === 'delete-vpc' && option.long === '--name');
  return isVpc ? 'vpc' : 'text';
}

function optionView(command: string, option: Option): OptionView {
  const flags = [option.short, option.long].filter((flag) => flag !== undefined);
  return { flags, description: option.description, value: valueAfter(command, option) };
}

function argumentOf(command: Command): Value {
  const [argument] = command.registeredArguments;
  if (argument === undefined) return 'none';
  if (argument.argChoices !== undefined) return argument.argChoices;
  const name = argument.name();
  if (name === 'file') return 'file';
  if (name === 'source') return 'end';
  return name === 'vpc' ? 'vpc' : 'text';
}

function commandViews(program: Command): CommandView[] {
  const help = program.createHelp();
  const global = program.options.filter(({ long }) => long !== '--version').map((option) => optionView('', option));
  return help
    .visibleCommands(program)
    .filter((command) => command.name() !== 'help')
    .map((command) => ({
      name: command.name(),
      description: command.description(),
      options: [...help.visibleOptions(command).map((option) => optionView(command.name(), option)), ...global],
      argument: argumentOf(command),
    }));
}

export function completionScript(program: Command, shell: Shell): string {
  const commands = commandViews(program);
  switch (shell) {
    case 'bash':
      return bash(commands);
    case 'zsh':
      return zsh(commands);
    case 'fish':
      return fish(commands);
  }
}

const VPC_NAMES = 'vpcctl list --quiet 2>/dev/null';
const END_NAMES = 'vpcctl matrix --quiet 2>/dev/null';

// --- bash ------------------------------------------------------------------------------------------------------------

function bashReply(value: Value): string | undefined {
  switch (value) {
    case 'none':
      return undefined;
    case 'text':
      return 'COMPREPLY=()';
    case 'file':
      return 'compopt -o filenames; COMPREPLY=($(compgen -f -- "$cur"))';
    case 'directory':
      return 'compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur"))';
    case 'vpc':
      return `COMPREPLY=($(compgen -W "$(${VPC_NAMES})" -- "$cur"))`;
    case 'end':
      return `COMPREPLY=($(compgen -W "$(${END_NAMES})" -- "$cur"))`;
    default:
      return `COMPREPLY=($(compgen -W ${quoted(value.join(' '))} -- "$cur"))`;
  }
}

function quoted(text: string): string {
  return `'${text.replaceAll("'", `'\\''`)}'`;
}

function bash(commands: readonly CommandView[]): string {
  const cases = commands.map(({ name, options, argument }) => {
    const values = options.flatMap(({ flags, value }) => {
      const reply = bashReply(value);
      return reply === undefined ? [] : [`        ${flags.join('|')}) ${reply}; return ;;`];
    });
    const words = options.flatMap(({ flags }) => flags.filter((flag) => flag.startsWith('--'))).join(' ');
    const reply = bashReply(argument) ?? 'COMPREPLY=()';
    return [
      `    ${name})`,
      '      case "$prev" in',
      ...values,
      '      esac',
      `      if [[ $cur == -* ]]; then COMPREPLY=($(compgen -W ${quoted(words)} -- "$cur")); else ${reply}; fi ;;`,
    ].join('\n');
  });
  const globals = ['--state', '--json', '--quiet', '--no-color', '--version', '--help'].join(' ');
  return `# bash completion of vpcctl: source <(vpcctl completion bash)
_vpcctl() {
  local cur=\${COMP_WORDS[COMP_CWORD]} prev=\${COMP_WORDS[COMP_CWORD - 1]} command= i
  COMPREPLY=()
  for ((i = 1; i < COMP_CWORD; i++)); do
    case "\${COMP_WORDS[i]}" in
      --) return ;;
      --state) ((i++)) ;;
      -*) ;;
      *) command=\${COMP_WORDS[i]}; break ;;
    esac
  done
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ \${COMP_WORDS[i]} == -- ]]; then return; fi
  done
  case "$command" in
    '')
      if [[ $prev == --state ]]; then compopt -o filenames; COMPREPLY=($(compgen -d -- "$cur")); return; fi
      COMPREPLY=($(compgen -W ${quoted(`${commands.map(({ name }) => name).join(' ')} help ${globals}`)} -- "$cur")) ;;
    help) COMPREPLY=($(compgen -W ${quoted(commands.map(({ name }) => name).join(' '))} -- "$cur")) ;;
${cases.join('\n')}
  esac
}
complete -F _vpcctl vpcctl
`;
}

// --- zsh -------------------------------------------------------------------------------------------------------------

function zshAction(value: Value): string {
  switch (value) {
    case 'none':
      return '';
    case 'text':
      return ':value: ';
    case 'file':
      return ':file:_files';
    case 'directory':
      return ':directory:_files -/';
    case 'vpc':
      return ':vpc:_vpcctl_vpcs';
    case 'end':
      return ':end:_vpcctl_ends';
    default:
      return `:value:(${value.join(' ')})`;
  }
}

/** Text inside `'…[…]…'` of an _arguments specification. */
function zshText(text: string): string {
  return text.replace(/[\\:[\]]/g, (character) => `\\${character}`).replaceAll("'", `'\\''`);
}

function zshArgument(argument: Value): string {
  if (argument === 'text') return `'*:: :_normal'`;
  return `'${argument === 'end' ? '*' : '1'}${zshAction(argument)}'`;
}

function zsh(commands: readonly CommandView[]): string {
  const cases = commands.map(({ name, options, argument }) => {
    const specs = options.flatMap(({ flags, description, value }) =>
      flags.map((flag) => `'${flag}[${zshText(description)}]${zshAction(value)}'`),
    );
    const rest = argument === 'none' ? [] : [zshArgument(argument)];
    return `        ${name})\n          _arguments -s -S ${[...specs, ...rest].join(' \\\n            ')} ;;`;
  });
  const described = commands.map(({ name, description }) => `    '${name}:${zshText(description)}'`);
  return `#compdef vpcctl
# zsh completion of vpcctl: put it into a directory of $fpath as _vpcctl
_vpcctl_vpcs() {
  local -a names
  names=(\${(f)"$(${VPC_NAMES})"})
  compadd -a names
}
_vpcctl_ends() {
  local -a names
  names=(\${(f)"$(${END_NAMES})"})
  compadd -a names
}
_vpcctl() {
  local context state state_descr line
  typeset -A opt_args
  local -a commands
  commands=(
${described.join('\n')}
    'help:show help for a command'
  )
  _arguments -C '--state[directory of the state]:directory:_files -/' '--json[print one JSON document]' \\
    '--quiet[print only what was asked for]' '--no-color[print without colours]' '--version[print the version]' \\
    '--help[show help]' '1:command:->command' '*::argument:->argument'
  case $state in
    command) _describe command commands ;;
    argument)
      case $words[1] in
        help) _describe command commands ;;
${cases.join('\n')}
      esac ;;
  esac
}
if [[ $funcstack[1] == _vpcctl ]]; then _vpcctl "$@"; else compdef _vpcctl vpcctl; fi
`;
}

// --- fish ------------------------------------------------------------------------------------------------------------

function fishValue(value: Value): string {
  switch (value) {
    case 'none':
      return '';
    case 'text':
      return ' -x';
    case 'file':
      return ' -r -F';
    case 'directory':
      return " -x -a '(__fish_complete_directories)'";
    case 'vpc':
      return ` -x -a '(${VPC_NAMES})'`;
    case 'end':
      return ` -x -a '(${END_NAMES})'`;
    default:
      return ` -x -a ${quoted(value.join(' '))}`;
  }
}

function fishFlags(flags: readonly string[]): string {
  return flags.map((flag) => (flag.startsWith('--') ? `-l ${flag.slice(2)}` : `-s ${flag.slice(1)}`)).join(' ');
}

function fishQuoted(text: string): string {
  return `'${text.replace(/[\\']/g, (character) => `\\${character}`)}'`;
}

function fish(commands: readonly CommandView[]): string {
  const lines = commands.flatMap(({ name, description, options, argument }) => {
    const inside = `-n '__fish_seen_subcommand_from ${name}'`;
    const after =
      argument === 'none' || argument === 'text'
        ? []
        : [`complete -c vpcctl ${inside}${fishValue(argument).replace(' -x', '').replace(' -r', '')}`];
    return [
      `complete -c vpcctl -n __fish_use_subcommand -a ${name} -d ${fishQuoted(description)}`,
      ...options.map(
        (option) =>
          `complete -c vpcctl ${inside} ${fishFlags(option.flags)}${fishValue(option.value)} -d ${fishQuoted(option.description)}`,
      ),
      ...after,
    ];
  });
  return `# fish completion of vpcctl: vpcctl completion fish > ~/.config/fish/completions/vpcctl.fish
complete -c vpcctl -f
${lines.join('\n')}
`;
}
