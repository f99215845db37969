/** Options that several commands share, and readers of their values. */
import { InvalidArgumentError, Option } from 'commander';

export interface DryRun {
  readonly dryRun?: boolean;
}

export interface Yes {
  readonly yes?: boolean;
}

export function dryRunOption(): Option {
  return new Option('--dry-run', 'show what would be done, change nothing');
}

export interface Cut {
  readonly cut?: boolean;
}

export function cutOption(): Option {
  return new Option('--cut', 'end connections that are no longer allowed; by default those that are open go on');
}

export function yesOption(): Option {
  return new Option('-y, --yes', 'do not ask');
}

/** A TCP or UDP port. */
export function readPort(text: string): number {
  const port = /^[0-9]{1,5}$/.test(text) ? Number(text) : 0;
  if (port < 1 || port > 65535) throw new InvalidArgumentError('Expected a number from 1 to 65535.');
  return port;
}

export function readCount(text: string): number {
  if (!/^[1-9][0-9]{0,5}$/.test(text)) throw new InvalidArgumentError('Expected a number of at least 1.');
  return Number(text);
}

/** What cannot be meant: an option given an empty value, as by an unset variable of a script. */
export function readFilled(text: string): string {
  if (text === '') throw new InvalidArgumentError('It is empty.');
  return text;
}

/** `a,b c` given in one or several arguments, as one list. */
export function readList(text: string, before: readonly string[] | undefined): readonly string[] {
  return [...(before ?? []), ...text.split(',').map((item) => item.trim())];
}

/** Where a program runs. */
export interface Place {
  readonly vpc: string;
  readonly subnet?: string;
  readonly instance?: string;
}

export function whereOf({ subnet, instance }: Place): { subnet?: string; instance?: string } {
  return { ...(subnet === undefined ? {} : { subnet }), ...(instance === undefined ? {} : { instance }) };
}
