/** A machine in memory: a ruleset of others, settings and files. */
import { VpcctlError } from '../../../src/errors.js';
import type { Machine } from '../../../src/kernel/machine.js';

interface Rule {
  readonly family: string;
  readonly table: string;
  readonly chain: string;
  readonly handle?: number;
}

type Listed = Record<string, object>;

export class FakeMachine implements Machine {
  readonly files: Map<string, string>;
  readonly directories = new Set<string>();
  objects: Listed[];
  /** Called before each change with what is about to be done; it may throw. */
  onChange: (what: string) => void = () => {};
  #handle = 1000;

  constructor(listing = '{"nftables":[]}', files: Readonly<Record<string, string>> = {}) {
    this.objects = (JSON.parse(listing) as { nftables: Listed[] }).nftables;
    this.files = new Map(Object.entries(files));
    for (const path of this.files.keys()) this.#makeDirectories(path);
  }

  #makeDirectories(path: string): void {
    for (const dir of this.#parents(path)) this.directories.add(dir);
  }

  #parents(path: string): string[] {
    const parts = path.split('/').slice(1, -1);
    return parts.map((_, at) => `/${parts.slice(0, at + 1).join('/')}`);
  }

  async ruleset(): Promise<string> {
    return JSON.stringify({ nftables: this.objects });
  }

  async nft(commands: readonly object[]): Promise<void> {
    for (const command of commands as { insert?: { rule: Rule }; delete?: { rule: Rule } }[]) {
      const [verb, body] = Object.entries(command)[0] as [string, { rule: Rule }];
      this.onChange(`nft ${verb}`);
      const at = this.objects.findIndex(({ rule }) => {
        const own = rule as Rule | undefined;
        return own?.chain === body.rule.chain && (verb === 'insert' || own.handle === body.rule.handle);
      });
      if (at === -1) throw new VpcctlError('KERNEL', 'nft refused', { errno: 'ENOENT' });
      if (verb === 'insert') this.objects.splice(at, 0, { rule: { ...body.rule, handle: this.#handle++ } });
      else this.objects.splice(at, 1);
    }
  }

  read(path: string): string | undefined {
    return this.files.get(path);
  }

  list(path: string): string[] {
    const below = [...this.files.keys(), ...this.directories].filter((file) => file.startsWith(`${path}/`));
    return [...new Set(below.map((file) => file.slice(path.length + 1).split('/')[0] as string))].sort();
  }

  missingDirectories(path: string): string[] {
    return this.#parents(path).filter((dir) => !this.directories.has(dir));
  }

  create(path: string, content: string): void {
    this.onChange(`create ${path}`);
    this.#makeDirectories(path);
    this.files.set(path, content);
  }

  remove(path: string): void {
    this.onChange(`remove ${path}`);
    this.files.delete(path);
  }

  removeDirectory(path: string): void {
    if (this.list(path).length === 0) this.directories.delete(path);
  }

  set(key: string, value: string): void {
    this.onChange(`set ${key}`);
    this.files.set(`/proc/sys/${key}`, `${value}\n`);
  }

  /** All that it has: a line a fact. */
  snapshot(): string[] {
    return [
      ...this.objects.map((object) => JSON.stringify(object)),
      ...[...this.files].map(([path, content]) => `${path}: ${content}`).sort(),
      ...[...this.directories].sort(),
    ];
  }
}
