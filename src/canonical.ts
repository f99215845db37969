/** JSON with sorted keys and without undefined members: equal text, equal value. */
export function canonicalText(value: unknown): string {
  if (Array.isArray(value)) return `[${value.map(canonicalText).join(',')}]`;
  if (value !== null && typeof value === 'object') {
    const entries = Object.entries(value).filter(([, member]) => member !== undefined);
    entries.sort(([a], [b]) => (a < b ? -1 : 1));
    return `{${entries.map(([key, member]) => `${JSON.stringify(key)}:${canonicalText(member)}`).join(',')}}`;
  }
  return JSON.stringify(value);
}

/** Whether two values have one {@link canonicalText}, told without writing it. */
export function isSame(a: unknown, b: unknown): boolean {
  if (a === b) return true;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return false;
  if (Array.isArray(a) || Array.isArray(b)) {
    return Array.isArray(a) && Array.isArray(b) && a.length === b.length && a.every((item, at) => isSame(item, b[at]));
  }
  const other = b as Readonly<Record<string, unknown>>;
  const members = Object.entries(a).filter(([, member]) => member !== undefined);
  const others = Object.keys(other).filter((key) => other[key] !== undefined);
  return members.length === others.length && members.every(([key, member]) => isSame(member, other[key]));
}
