/** The table that a run ends with. */

function ms(value) {
  return value.toFixed(value < 100 ? 1 : 0);
}

function ratio(value) {
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

export function renderTable(machine, { suite, rounds, groups }, summary, baseline) {
  const head = [
    'size',
    'driver',
    'rounds',
    'build ms',
    `x ${baseline}`,
    'us/workload',
    'process ms',
    'gone ms',
    `x ${baseline}`,
    'process ms',
  ];
  const rows = summary.map((row) => {
    const [vpcs, workloads] = row.size.split('x').map(Number);
    return [
      row.size,
      row.driver,
      String(row.rounds),
      ms(row.build.median),
      ratio(row.build.ratio),
      ((row.build.median * 1000) / (vpcs * workloads)).toFixed(0),
      ms(row.buildProcess.median),
      ms(row.gone.median),
      ratio(row.gone.ratio),
      ms(row.teardownProcess.median),
    ];
  });
  return [
    '',
    `${suite}, ${groups} groups, ${rounds} rounds: medians; x is the median of the per-round ratios`,
    ...describeRun(machine),
    '',
    ...textTable(head, rows, 2),
    '',
    '',
  ].join('\n');
}
