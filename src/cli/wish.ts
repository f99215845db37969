/** What `auto`, `none` and an address or a block mean. */
export function wishOf(text: string): boolean | string {
  if (text === 'auto') return true;
  return text === 'none' ? false : text;
}
