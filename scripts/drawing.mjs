// @ts-check
/**
 * Draws an installation for a terminal: a layout on a grid of characters.
 */

/** @typedef {{ x: number, y: number, width: number, title: string, lines: readonly string[] }} Box */
/** @typedef {{ x: number, from: number, to: number, label?: string }} Wire */
/** @typedef {{ width: number, height: number, boxes: readonly Box[], wires: readonly Wire[] }} Drawing */

const GAP = 2;
const WIRE = 3;

/** @param {Pick<Box, 'lines'>} box */
const heightOf = (box) => box.lines.length + 2;

/** @param {string} title @param {readonly string[]} lines */
const widthFor = (title, lines) => Math.max(title.length + 10, ...lines.map((line) => line.length + 4));

/**
 * A subnet as a box, its instances as lines.
 * @param {import('../src/index.js').SubnetView} subnet
 */
function column({ name, kind, cidr, instances }) {
  const lines = instances.flatMap(({ name: own, ip, publicIp }) => [
    `${own}  ${ip}`,
    ...(publicIp === null ? [] : [`${' '.repeat(own.length)}  ${publicIp}`]),
  ]);
  const title = `${name}, ${kind}`;
  const all = [cidr, '', ...(lines.length === 0 ? ['no instances'] : lines)];
  return {
    title,
    lines: all,
    width: widthFor(title, all),
  };
}

/**
 * @param {import('../src/index.js').InstallationView} view
 * @param {{ internet: readonly string[], host: readonly string[] }} outside lines of the two boxes that are not ours
 * @returns {Drawing}
 */
export function draw(view, outside) {
  const routers = view.vpcs.map((vpc) => {
    const subnets = [...vpc.subnets].sort((a, b) => b.kind.localeCompare(a.kind) || (a.cidr < b.cidr ? -1 : 1));
    const columns = subnets.map(column);
    const title = `${vpc.namespace}: router of VPC ${vpc.name}, ${vpc.cidrs.join(', ')}`;
    const lines = [`gateways ${subnets.map(({ gateway }) => gateway).join(', ')}`];
    const below = columns.reduce((sum, one) => sum + one.width + GAP, -GAP);
    return { title, lines, columns, width: Math.max(widthFor(title, lines), below) };
  });
  const width = Math.max(
    60,
    routers.reduce((sum, { width: own }) => sum + own + GAP, -GAP),
  );
  /** @type {Box[]} */
  const boxes = [];
  /** @type {Wire[]} */
  const wires = [];
  let y = 0;
  /** @param {Box} box @param {string} [label] of the wire below */
  const stack = (box, label) => {
    boxes.push(box);
    y += heightOf(box);
    wires.push({ x: 4, from: y - 1, to: y + WIRE - 1, ...(label === undefined ? {} : { label }) });
    y += WIRE - 1;
  };
  stack({ x: 0, y, width, title: 'internet', lines: outside.internet }, 'uplink');
  stack({ x: 0, y, width, title: 'host', lines: outside.host }, 'vpc-edge');
  if (view.edge !== null) {
    const lines = [`routes the public pool ${view.publicPool} to the routers`];
    const edge = { x: 0, y, width, title: 'vpc-edge', lines };
    boxes.push(edge);
    y += heightOf(edge);
  }
  const top = y + WIRE - 1;
  let x = 0;
  for (const { title, lines, columns, width: own } of routers) {
    if (view.edge !== null) wires.push({ x: x + 4, from: y - 1, to: top, label: 'uplink' });
    const router = { x, y: top, width: Math.max(own, routers.length === 1 ? width : 0), title, lines };
    boxes.push(router);
    let left = x;
    const below = top + heightOf(router) + WIRE - 2;
    for (const one of columns) {
      wires.push({ x: left + 4, from: below - WIRE + 1, to: below });
      boxes.push({ x: left, y: below, ...one });
      left += one.width + GAP;
    }
    x += own + GAP;
  }
  const height = Math.max(...boxes.map((box) => box.y + heightOf(box)));
  return { width: Math.max(width, x - GAP), height, boxes, wires };
}

/** @param {Drawing} drawing @returns {string} */
export function toText({ width, height, boxes, wires }) {
  const grid = Array.from({ length: height }, () => Array.from({ length: width }, () => ' '));
  /** @param {number} x @param {number} y @param {string} text */
  const put = (x, y, text) => {
    [...text].forEach((character, index) => {
      const row = grid[y];
      if (row !== undefined && x + index < width) row[x + index] = character;
    });
  };
  for (const box of boxes) {
    const inner = box.width - 2;
    put(box.x, box.y, `┌${'─'.repeat(inner)}┐`);
    for (const [index, line] of box.lines.entries()) put(box.x, box.y + 1 + index, `│ ${line.padEnd(inner - 1)}│`);
    put(box.x, box.y + heightOf(box) - 1, `└${'─'.repeat(inner)}┘`);
  }
  for (const { x, from, to, label } of wires) {
    for (let y = from; y <= to; y += 1) {
      const here = grid[y]?.[x];
      put(x, y, here === '─' ? (y === from ? '┬' : '┴') : '│');
    }
    if (label !== undefined) put(x + 2, from + 1, label);
  }
  for (const box of boxes) {
    const entered = wires.some(({ x, to }) => x === box.x + 4 && to === box.y);
    put(box.x + (entered ? 6 : 2), box.y, ` ${box.title} `);
  }
  return grid.map((row) => row.join('').trimEnd()).join('\n');
}
