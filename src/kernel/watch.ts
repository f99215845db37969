/**
 * Hearing of changes in namespaces of this machine. Nothing is held open in them: one monitor hears all to which it has given a number
 * (native/monitor.h), and the directory of namespaces tells which names come and go.
 */
import { type FSWatcher, watch as onDirectory, statSync } from 'node:fs';
import { VpcctlError } from '../errors.js';
import { NETNS_DIR } from '../objects/kernel-object.js';
import type { KernelWatch, OnChange } from './kernel.js';
import type { Native, NativeMonitor } from './native.js';
import { netnsPath } from './program.js';

/**
 * Entries that are learnt are told of all the time, those that age too, and in one message type with permanent ones. Whatever is deleted is
 * another type, and rare.
 */
const RTM_NEWNEIGH = 28;

export class NamespaceWatch implements KernelWatch {
  readonly #native: Native;
  readonly #monitor: NativeMonitor;
  readonly #onChange: OnChange;
  readonly #numbers = new Map<string, number>();
  readonly #names = new Map<number, string>();
  /** Numbers are not given twice: what is told of one that died may still be under way. */
  #next = 0;
  #directory: { readonly watcher: FSWatcher; readonly inode: number } | undefined;

  constructor(native: Native, onChange: OnChange) {
    this.#native = native;
    this.#onChange = onChange;
    try {
      this.#monitor = new native.Monitor((news, overrun) => this.#tell(news, overrun));
    } catch (cause) {
      const { code, message } = cause as NodeJS.ErrnoException;
      throw new VpcctlError('ENVIRONMENT', 'changes in the kernel cannot be watched', {
        ...(code === undefined ? {} : { errno: code }),
        extack: message,
        hint:
          code === 'EPERM'
            ? 'run as root with all capabilities (CAP_NET_BROADCAST is needed), or in a user namespace of your own'
            : 'run `vpcctl repair` from time to time instead',
        cause,
      });
    }
  }

  follow(namespaces: readonly string[]): readonly string[] {
    this.#followDirectory();
    const wanted = new Set(namespaces);
    for (const [ns, number] of this.#numbers) if (!wanted.has(ns)) this.#forget(ns, number);
    return [...wanted].filter((ns) => this.#follow(ns));
  }

  /** Asked every time: the kernel alone knows whether a name is still that of the same namespace. True: it is another. */
  #follow(ns: string): boolean {
    const error = this.#monitor.follow(netnsPath(ns), this.#next);
    const errno = this.#native.errnoName(error);
    if (errno === 'EEXIST') return false;
    const before = this.#numbers.get(ns);
    if (before !== undefined) this.#forget(ns, before);
    // Not there, or a file that is about to become a namespace.
    if (errno === 'ENOENT' || errno === 'EINVAL') return false;
    if (error !== 0) {
      throw new VpcctlError('KERNEL', `namespace ${ns || 'of the host'} cannot be watched`, { netns: ns, errno });
    }
    this.#numbers.set(ns, this.#next);
    this.#names.set(this.#next, ns);
    this.#next += 1;
    return true;
  }

  #forget(ns: string, number: number): void {
    this.#numbers.delete(ns);
    this.#names.delete(number);
  }

  /** It may not be there yet, or another than it was. */
  #followDirectory(): void {
    const inode = statSync(NETNS_DIR, { throwIfNoEntry: false })?.ino;
    if (inode === this.#directory?.inode) return;
    this.#directory?.watcher.close();
    this.#directory = undefined;
    if (inode === undefined) return;
    try {
      const watcher = onDirectory(NETNS_DIR, { persistent: false }, (_event, name) => {
        this.#onChange(name === null ? undefined : [name]);
      });
      watcher.on('error', () => {
        watcher.close();
        // Watched anew by the next call.
        this.#directory = undefined;
        this.#onChange(undefined);
      });
      this.#directory = { watcher, inode };
    } catch (cause) {
      const { code } = cause as NodeJS.ErrnoException;
      throw new VpcctlError('ENVIRONMENT', `${NETNS_DIR} cannot be watched`, {
        ...(code === undefined ? {} : { errno: code }),
        hint: 'raise fs.inotify.max_user_watches and fs.inotify.max_user_instances',
        cause,
      });
    }
  }

  #tell(news: readonly number[], overrun: boolean): void {
    if (overrun) {
      this.#onChange(undefined);
      return;
    }
    const changed = new Set<string>();
    for (let at = 0; at < news.length; at += 2) {
      const ns = this.#names.get(news[at] as number);
      if (ns !== undefined && news[at + 1] !== RTM_NEWNEIGH) changed.add(ns);
    }
    if (changed.size > 0) this.#onChange([...changed]);
  }

  close(): void {
    this.#directory?.watcher.close();
    this.#directory = undefined;
    this.#monitor.close();
  }
}
