/** The line of what a process said that tells why it ended. */
export function reasonOf({ error, stderr, status, signal }) {
  const text = error?.message ?? stderr.trim();
  return /^(?:\w*Error: )(.*)$/m.exec(text)?.[1] ?? (text || `ended with ${status ?? signal}`);
}
