/** IPv6 addresses: text ↔ the number that they are. */

/** A link of a smaller MTU carries no IPv6 (RFC 8200): the kernel has none on it. */
export const LEAST_MTU6 = 1280;

const GROUPS = 8;
const GROUP_BITS = 16n;

/** The number of an address in any of its spellings (RFC 4291), one that ends in an IPv4 address too; undefined when the text is none. */
export function readIp6(text: string): bigint | undefined {
  if (!/^[0-9a-f:.]{2,45}$/i.test(text)) return undefined;
  const dotted = /^(.*:)([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})\.([0-9]{1,3})$/.exec(text);
  let hex = text;
  if (dotted !== null) {
    const octets = dotted.slice(2);
    if (octets.some((octet) => Number(octet) > 255 || (octet.length > 1 && octet.startsWith('0')))) return undefined;
    const [a, b, c, d] = octets.map(Number) as [number, number, number, number];
    hex = `${dotted[1]}${(a * 256 + b).toString(16)}:${(c * 256 + d).toString(16)}`;
  }
  if (hex.includes('.')) return undefined;
  const halves = hex.split('::');
  if (halves.length > 2) return undefined;
  const [front, back] = halves.map((half) => (half === '' ? [] : half.split(':'))) as [string[], string[] | undefined];
  if ([...front, ...(back ?? [])].some((group) => !/^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  const missing = GROUPS - front.length - (back?.length ?? 0);
  if (back === undefined ? missing !== 0 : missing < 1) return undefined;
  const groups = [...front, ...Array.from({ length: missing }, () => '0'), ...(back ?? [])];
  return groups.reduce((value, group) => (value << GROUP_BITS) | BigInt(Number.parseInt(group, 16)), 0n);
}

/** The one canonical spelling (RFC 5952, section 4): lower case, no leading zeros, the first longest run of zero groups shortened. */
export function formatIp6(value: bigint): string {
  const groups = Array.from({ length: GROUPS }, (_none, at) =>
    Number((value >> (GROUP_BITS * BigInt(GROUPS - 1 - at))) & 0xffffn),
  );
  let [begin, length] = [0, 0];
  for (let at = 0; at < GROUPS; at += 1) {
    let end = at;
    while (end < GROUPS && groups[end] === 0) end += 1;
    if (end - at > length) [begin, length] = [at, end - at];
    if (end > at) at = end;
  }
  const words = (from: number, to: number): string =>
    groups
      .slice(from, to)
      .map((group) => group.toString(16))
      .join(':');
  // A single group of zeros is written out.
  return length < 2 ? words(0, GROUPS) : `${words(0, begin)}::${words(begin + length, GROUPS)}`;
}
