/** What of the host is others': its firewall, settings and configuration files. Read by `doctor`, changed only by what it fixes. */
import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmdirSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { VpcctlError } from '../errors.js';
import { nftErrno, runNft } from './nft.js';

/** The host's own firewall, settings and files. Whatever may not be looked at or changed is a VpcctlError. */
export interface Machine {
  /** `nft -j list ruleset`: every table, iptables-nft's too. */
  ruleset(): Promise<string>;
  /** Carries out these commands of libnftables-json(5) as one transaction. */
  nft(commands: readonly object[]): Promise<void>;
  /** A file's text; undefined when there is none. */
  read(path: string): string | undefined;
  /** Names in a directory, sorted; none when there is no directory. */
  list(path: string): string[];
  /** Which directories above `path` are not there, outermost first. */
  missingDirectories(path: string): string[];
  /** Writes a file that is not there, and the directories that it lacks. */
  create(path: string, content: string): void;
  /** Deletes a file, if it is there. */
  remove(path: string): void;
  /** Deletes a directory, if it is there and nothing is in it. */
  removeDirectory(path: string): void;
  /** Writes a sysctl, by its path below /proc/sys. */
  set(key: string, value: string): void;
}

const ABSENT = new Set(['ENOENT', 'ENOTDIR']);
/** Of rmdir(2): something is in it. */
const STAYS = new Set(['ENOENT', 'ENOTEMPTY', 'EEXIST']);

/** This machine. `root`: where /etc, /run and /usr are looked for. */
export class RealMachine implements Machine {
  readonly #root: string;

  constructor(root = '/') {
    this.#root = root;
  }

  async ruleset(): Promise<string> {
    const { stdout, refusal } = await runNft('', ['-j', 'list', 'ruleset']);
    if (refusal === undefined) return stdout;
    throw nftError('nft did not list the firewall of the host', refusal);
  }

  async nft(commands: readonly object[]): Promise<void> {
    const { refusal } = await runNft('', ['-j', '-f', '-'], JSON.stringify({ nftables: commands }));
    if (refusal !== undefined) throw nftError("nft refused a change of the host's firewall", refusal);
  }

  read(path: string): string | undefined {
    return this.#do('read', path, ABSENT, (at) => readFileSync(at, 'utf8'));
  }

  list(path: string): string[] {
    return this.#do('read', path, ABSENT, (at) => readdirSync(at).sort()) ?? [];
  }

  missingDirectories(path: string): string[] {
    const missing: string[] = [];
    for (let dir = dirname(path); !existsSync(this.#at(dir)); dir = dirname(dir)) missing.unshift(dir);
    return missing;
  }

  create(path: string, content: string): void {
    for (const dir of this.missingDirectories(path))
      this.#do('make', dir, new Set(['EEXIST']), (at) => mkdirSync(at, { mode: 0o755 }));
    this.#do('write', path, new Set(), (at) => writeFileSync(at, content, { flag: 'wx', mode: 0o644 }));
  }

  remove(path: string): void {
    this.#do('remove', path, ABSENT, unlinkSync);
  }

  removeDirectory(path: string): void {
    this.#do('remove', path, STAYS, rmdirSync);
  }

  set(key: string, value: string): void {
    this.#do('write', `/proc/sys/${key}`, new Set(), (at) => {
      accessSync(at, constants.W_OK);
      writeFileSync(at, value);
    });
  }

  /** What /proc shows is the kernel's, wherever the root is. */
  #at(path: string): string {
    return path.startsWith('/proc/') ? path : join(this.#root, path);
  }

  #do<T>(verb: string, path: string, expected: ReadonlySet<string>, action: (at: string) => T): T | undefined {
    try {
      return action(this.#at(path));
    } catch (cause) {
      const code = (cause as NodeJS.ErrnoException).code ?? 'EIO';
      if (expected.has(code)) return undefined;
      throw new VpcctlError('ENVIRONMENT', `could not ${verb} ${path}`, {
        object: path,
        errno: code,
        ...(code === 'EACCES' || code === 'EPERM' ? { hint: 'run as root' } : {}),
        cause,
      });
    }
  }
}

function nftError(what: string, refusal: string): VpcctlError {
  const errno = nftErrno(refusal);
  return new VpcctlError(errno === 'EPERM' ? 'ENVIRONMENT' : 'KERNEL', what, {
    object: 'firewall of the host',
    netns: '',
    extack: refusal,
    ...(errno === undefined ? {} : { errno }),
    ...(errno === 'EPERM' ? { hint: 'run as root' } : {}),
  });
}
