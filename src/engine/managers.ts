/** Programs that manage the host's links and routes: whether they leave ours alone, told from their configuration files, and the file that says so. */
import type { Machine } from '../kernel/machine.js';
import { HOST_LINK } from '../lower/names.js';
import type { FileFix } from './fixes.js';

interface Entry {
  /** Name of the file, without its directory. */
  readonly file: string;
  readonly section: string;
  readonly key: string;
  readonly value: string;
}

/** What a manager's configuration says about our link and routes. */
export interface Manager {
  readonly name: string;
  /** What it would do to us; undefined when it leaves us alone. */
  readonly trouble?: string;
  /** Files that would stop it; none where a file of somebody else's, read later, says otherwise. */
  readonly fixes: readonly FileFix[];
  /** How the files take effect. */
  readonly effect: string;
}

/** The managers that run here. */
export function managers(machine: Machine): Manager[] {
  return [
    ...(machine.list('/run/NetworkManager').length > 0 ? [networkManager(machine)] : []),
    ...(machine.list('/run/systemd/netif').length > 0 ? [networkd(machine)] : []),
  ];
}

function entries(file: string, text: string): Entry[] {
  let section = '';
  return text.split('\n').flatMap((line): Entry[] => {
    const header = /^\s*\[([^\]]+)\]\s*$/.exec(line);
    if (header?.[1] !== undefined) section = header[1];
    const pair = /^\s*([A-Za-z][\w.-]*)\s*[+-]?=\s*(.*?)\s*$/.exec(line);
    return pair === null ? [] : [{ file, section, key: pair[1] as string, value: pair[2] as string }];
  });
}

/** Files of these directories in the order of their names; of two with one name, that of the later directory. */
function filesOf(machine: Machine, directories: readonly string[], suffix: string): [string, string][] {
  const paths = new Map<string, string>();
  for (const dir of directories) {
    for (const name of machine.list(dir)) if (name.endsWith(suffix)) paths.set(name, `${dir}/${name}`);
  }
  return [...paths].sort(([a], [b]) => (a < b ? -1 : 1));
}

function readAll(machine: Machine, files: readonly (readonly [string, string])[]): Entry[] {
  return files.flatMap(([name, path]) => entries(name, machine.read(path) ?? ''));
}

/** The file, if there is none of its name yet. */
function newFile(machine: Machine, path: string, lines: readonly string[]): FileFix[] {
  if (machine.read(path) !== undefined) return [];
  const content = ['# Made by vpcctl doctor --fix; goes with the last public subnet.', ...lines, ''].join('\n');
  return [{ kind: 'file', path, content, directories: machine.missingDirectories(path) }];
}

function matches(pattern: string, name: string): boolean {
  const parts = pattern.split(/([*?])/).map((part) => (part === '*' ? '.*' : part === '?' ? '.' : literal(part)));
  return new RegExp(`^${parts.join('')}$`).test(name);
}

function literal(text: string): string {
  return text.replace(/[.+^${}()|[\]\\]/g, '\\$&');
}

// --- NetworkManager -----------------------------------------------------------------------------------------------------

const NM_RULES = '85-nm-unmanaged.rules';

/**
 * A section of its own for our link, because a second `unmanaged-devices` would replace that of a file before it (NetworkManager.conf(5): later files
 * override).
 */
function networkManager(machine: Machine): Manager {
  const name = 'NetworkManager';
  const effect = 'it takes effect with `nmcli general reload conf`';
  const dirs = ['/usr/lib', '/run', '/etc'].map((dir) => `${dir}/NetworkManager/conf.d`);
  const found = readAll(machine, [
    ['NetworkManager.conf', '/etc/NetworkManager/NetworkManager.conf'],
    ...filesOf(machine, dirs, '.conf'),
  ]);
  // Its udev rules leave veth links alone as they come.
  const rules = ['/etc', '/run', '/usr/lib', '/lib']
    .map((dir) => machine.read(`${dir}/udev/rules.d/${NM_RULES}`))
    .find((text) => text !== undefined);
  if (/^[^#\n]*veth[^\n]*NM_UNMANAGED/m.test(rules ?? '') || found.some((entry) => leavesAlone(entry, found))) {
    return { name, fixes: [], effect };
  }
  return {
    name,
    trouble: `it may adopt the link ${HOST_LINK} and replace its address`,
    fixes: newFile(machine, '/etc/NetworkManager/conf.d/90-vpcctl.conf', [
      '[device-vpcctl]',
      `match-device=interface-name:=${HOST_LINK}`,
      'managed=0',
    ]),
    effect,
  };
}

function leavesAlone({ section, key, value }: Entry, all: readonly Entry[]): boolean {
  if (key === 'unmanaged-devices') return devices(value);
  if (key !== 'match-device' || !devices(value)) return false;
  return all.some(
    (other) => other.section === section && other.key === 'managed' && /^(0|false|no)$/i.test(other.value),
  );
}

/** Whether a list of devices names ours. */
function devices(list: string): boolean {
  const items = list.split(/[;,]/).map((item) => item.trim());
  if (items.some((item) => item.startsWith('except:') && isDevice(item.slice('except:'.length)))) return false;
  return items.some(isDevice);
}

function isDevice(item: string): boolean {
  const name = /^interface-name:([=~]?)(.+)$/.exec(item);
  if (name !== null) return name[1] === '=' ? name[2] === HOST_LINK : matches(name[2] as string, HOST_LINK);
  return item === '*' || item === 'type:veth' || item === 'driver:veth';
}

// --- systemd-networkd ---------------------------------------------------------------------------------------------------

const FOREIGN = ['ManageForeignRoutes', 'ManageForeignRoutingPolicyRules'] as const;

function networkd(machine: Machine): Manager {
  const below = (dir: string): string[] =>
    ['/usr/lib', '/usr/local/lib', '/run', '/etc'].map((top) => `${top}/systemd/${dir}`);
  const settings = readAll(machine, [
    ['networkd.conf', '/etc/systemd/networkd.conf'],
    ...filesOf(machine, below('networkd.conf.d'), '.conf'),
  ]).filter(({ section }) => section === 'Network');
  const managed = FOREIGN.filter((key) => {
    const last = settings.findLast((entry) => entry.key === key);
    return last === undefined || !/^(0|no|n|false|f|off)$/i.test(last.value);
  });
  const network = filesOf(machine, below('network'), '.network').find(([file, path]) =>
    adopts(entries(file, machine.read(path) ?? '')),
  );
  const unmanaged = network !== undefined && isUnmanaged(machine.read(network[1]) ?? '');
  const adopted = network === undefined || unmanaged ? [] : [`${network[1]} makes it adopt the link ${HOST_LINK}`];
  const removed = managed.length === 0 ? [] : ['it removes routes that are not its own when it starts'];
  const trouble = [...adopted, ...removed].join('; ');
  return {
    name: 'systemd-networkd',
    ...(trouble === '' ? {} : { trouble }),
    fixes: [
      ...(adopted.length === 0
        ? []
        : newFile(machine, '/etc/systemd/network/00-vpcctl.network', [
            '[Match]',
            `Name=${HOST_LINK}`,
            '[Link]',
            'Unmanaged=yes',
          ])),
      ...(managed.length === 0
        ? []
        : newFile(machine, '/etc/systemd/networkd.conf.d/90-vpcctl.conf', [
            '[Network]',
            ...FOREIGN.map((key) => `${key}=no`),
          ])),
    ],
    effect: 'it takes effect when systemd-networkd starts again; until then leave it running',
  };
}

function isUnmanaged(text: string): boolean {
  return entries('', text).some(
    ({ section, key, value }) => section === 'Link' && key === 'Unmanaged' && /^(1|yes|true|on)$/i.test(value),
  );
}

/** Of systemd.network(5)'s [Match], the keys that a veth called `vpc-edge` can satisfy; any other is of a link that it is not. */
function adopts(found: readonly Entry[]): boolean {
  const conditions = found.filter(({ section }) => section === 'Match');
  return (
    conditions.length > 0 &&
    conditions.every(({ key, value }) => {
      const words = value.split(/\s+/);
      const trait = key === 'Name' ? HOST_LINK : TRAITS[key];
      if (trait === undefined) return false;
      // A list that begins with ! names what does not match.
      if (value.startsWith('!')) return !words.some((word) => matches(word.replace(/^!/, ''), trait));
      return words.some((word) => matches(word, trait));
    })
  );
}

/** What networkd sees of the link besides its name. */
const TRAITS: Readonly<Record<string, string>> = { Type: 'ether', Kind: 'veth', Driver: 'veth' };
