/**
 * `plot.mjs results.json out.svg`: what `run.mjs --json` wrote, as a picture: one panel a metric, one group of bars a
 * size, one bar a driver; the axis is logarithmic, the thin line spans fastest to slowest trial, the number is the
 * median.
 */
import { readFileSync, writeFileSync } from 'node:fs';

const PANELS = [
  { metric: 'build', title: 'Build' },
  { metric: 'gone', title: 'Teardown, until the kernel has let go' },
];
/** Okabe and Ito's colours: told apart by colour-blind readers too. */
const COLOURS = ['#d55e00', '#0072b2', '#009e73', '#cc79a7', '#e69f00'];
const BAR = 44;
const GROUP_GAP = 28;
const MARGIN = { top: 84, right: 24, bottom: 62, left: 64 };
const PANEL_GAP = 76;
const HEIGHT = 240;

function escaped(text) {
  return String(text).replace(/[&<>"]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[sign]);
}

function tag(name, attributes, body) {
  const list = Object.entries(attributes).map(([key, value]) => {
    return ` ${key}="${typeof value === 'number' ? Math.round(value * 100) / 100 : escaped(value)}"`;
  });
  return `<${name}${list.join('')}${body === undefined ? '/>' : `>${body}</${name}>`}`;
}

function text(x, y, body, attributes = {}) {
  return tag('text', { x, y, ...attributes }, escaped(body));
}

function duration(ms) {
  if (ms >= 1000) return `${(ms / 1000).toFixed(ms >= 10_000 ? 0 : 1)} s`;
  return `${ms.toFixed(ms < 10 ? 1 : 0)} ms`;
}

/** Decades that hold all values. */
function decades(summary) {
  const values = summary.flatMap((row) => PANELS.flatMap(({ metric }) => [row[metric].min, row[metric].max]));
  const low = Math.floor(Math.log10(Math.min(...values)));
  return { low, high: Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values)))) };
}

function panel({ metric, title }, left, width, { summary, sizes, drivers, baseline, scale }) {
  const base = MARGIN.top + HEIGHT;
  const y = (ms) => base - ((Math.log10(ms) - scale.low) / (scale.high - scale.low)) * HEIGHT;
  const parts = [text(left, MARGIN.top - 18, title, { class: 'title' })];
  for (let power = scale.low; power <= scale.high; power += 1) {
    const at = y(10 ** power);
    parts.push(tag('line', { x1: left, x2: left + width, y1: at, y2: at, class: 'grid' }));
    parts.push(text(left - 8, at + 4, duration(10 ** power), { 'text-anchor': 'end' }));
  }
  sizes.forEach((size, group) => {
    const start = left + GROUP_GAP / 2 + group * (drivers.length * BAR + GROUP_GAP);
    const middle = start + (drivers.length * BAR) / 2;
    const [vpcs, workloads] = size.split('x');
    parts.push(text(middle, base + 18, `${vpcs} × ${workloads}`, { 'text-anchor': 'middle', class: 'size' }));
    drivers.forEach((driver, at) => {
      const row = summary.find((candidate) => candidate.size === size && candidate.driver === driver);
      if (row === undefined) return;
      const { median, min, max, ratio } = row[metric];
      const x = start + at * BAR;
      const top = y(median);
      const span = `${duration(min)} to ${duration(max)}, ${row.rounds} rounds`;
      const hint = `${driver}, ${size}: ${duration(median)} (${span})`;
      const bar = { x: x + 2, y: top, width: BAR - 4, height: base - top, fill: COLOURS[at % COLOURS.length] };
      parts.push(tag('rect', bar, tag('title', {}, escaped(hint))));
      parts.push(tag('line', { x1: x + BAR / 2, x2: x + BAR / 2, y1: y(min), y2: y(max), class: 'range' }));
      parts.push(text(x + BAR / 2, y(max) - 5, duration(median), { 'text-anchor': 'middle', class: 'value' }));
      if (ratio !== undefined && driver !== baseline) {
        parts.push(text(x + BAR / 2, base + 34, `${ratio.toFixed(1)}×`, { 'text-anchor': 'middle', class: 'value' }));
      }
    });
  });
  parts.push(tag('line', { x1: left, x2: left + width, y1: base, y2: base, class: 'axis' }));
  return parts.join('\n');
}

/** The picture of a result as SVG text. */
export function plot({ suite, groups, rounds, baseline, machine, drivers, summary }) {
  const sizes = [...new Set(summary.map(({ size }) => size))];
  const present = drivers.filter((driver) => summary.some((row) => row.driver === driver));
  const panelWidth = sizes.length * (present.length * BAR + GROUP_GAP);
  const width = Math.max(
    MARGIN.left + PANELS.length * panelWidth + (PANELS.length - 1) * PANEL_GAP + MARGIN.right,
    720,
  );
  const height = MARGIN.top + HEIGHT + MARGIN.bottom;
  const scale = decades(summary);
  const style = [
    'text{font:11px system-ui,sans-serif;fill:#24292f}',
    '.head{font-size:15px;font-weight:600}.title{font-size:13px;font-weight:600}',
    '.size{font-size:12px}.value{font-size:10px}',
    '.note{font-size:10px;fill:#57606a}.grid{stroke:#d8dee4}.axis{stroke:#24292f}',
    '.range{stroke:#24292f;stroke-opacity:.55}',
  ].join('');
  const legend = present.map((driver, at) => {
    const x = width - MARGIN.right - (present.length - at) * 84;
    const swatch = tag('rect', { x, y: 16, width: 11, height: 11, fill: COLOURS[at % COLOURS.length] });
    return `${swatch}${text(x + 16, 26, driver)}`;
  });
  const { cpu, cores, kernel, node, date } = machine;
  const where = `${cpu}, ${cores} cores, kernel ${kernel}, Node ${node}, ${date.slice(0, 10)}`;
  const under = `below: × ${baseline}, median of the per-round ratios`;
  const what = `medians of ${rounds} rounds, ${groups} groups, logarithmic; ${under}`;
  const panels = PANELS.map((each, at) => {
    const left = MARGIN.left + at * (panelWidth + PANEL_GAP);
    return panel(each, left, panelWidth, { summary, sizes, drivers: present, baseline, scale });
  });
  const body = [
    tag('style', {}, style),
    tag('rect', { width, height, fill: '#fff' }),
    text(16, 26, `${suite}: VPCs × workloads in each`, { class: 'head' }),
    text(16, 44, what, { class: 'note' }),
    ...legend,
    ...panels,
    text(16, height - 10, where, { class: 'note' }),
  ];
  const root = { xmlns: 'http://www.w3.org/2000/svg', viewBox: `0 0 ${width} ${height}`, width, height, role: 'img' };
  return `${tag('svg', root, `\n${body.join('\n')}\n`)}\n`;
}

const [input, output] = process.argv.slice(2);
if (input === undefined || output === undefined) {
  process.stderr.write('usage: node bench/plot.mjs results.json out.svg\n');
  process.exit(2);
}
const result = JSON.parse(readFileSync(input, 'utf8'));
if (result.summary.length === 0) {
  process.stderr.write(`${input}: no trial succeeded, nothing to draw\n`);
  process.exit(1);
}
writeFileSync(output, plot(result));
