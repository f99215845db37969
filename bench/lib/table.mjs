/** The tables that runs end with. */

export function ms(value) {
  return value.toFixed(value < 100 ? 1 : 0);
}

export function ratio(value) {
  return value === undefined ? '-' : `${value.toFixed(2)}x`;
}

/** Lines of a table: the first `left` columns to the left, numbers to the right. */
export function textTable(head, rows, left = 1) {
  const widths = head.map((title, at) => Math.max(title.length, ...rows.map((row) => row[at].length)));
  const line = (cells) =>
    cells.map((cell, at) => (at < left ? cell.padEnd(widths[at]) : cell.padStart(widths[at]))).join('  ');
  return [line(head), line(widths.map((width) => '-'.repeat(width))), ...rows.map(line)];
}

/** What it was measured on. */
export function describeRun(machine) {
  return [
    `${machine.cpu}, ${machine.cores} cores, kernel ${machine.kernel}, Node ${machine.node}`,
    `${machine.nft}, ${machine.iproute2}, ${machine.date}`,
  ];
}
