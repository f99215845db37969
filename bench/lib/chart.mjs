/**
 * Pictures of results as SVG text. A suite says what to draw:
 *
 *   { head, note, foot, series: [name, …], panels: [{ title, kind, unit, log, … }, …] }
 *
 * `kind: 'bars'` has `groups: [{ label, bars: [{ series, value, low, high, under }, …] }, …]`: one group of bars a size, one bar a
 * rival; the thin line spans `low` to `high`, `under` is a word below the bar. `kind: 'lines'` has `xLabel` and `lines: [{ series, points: [{ x,
 * y, high }, …], dashed }, …]`: x is spread evenly over the values that occur, whatever lies between them. `log`: a logarithmic axis, else
 * one from nothing. `unit` is ms, or another word that stands behind the number.
 */
import { escaped, quantity, STYLE, tag, text } from './svg.mjs';

/** Okabe and Ito's colours: told apart by colour-blind readers too. */
const COLOURS = ['#d55e00', '#0072b2', '#009e73', '#cc79a7', '#e69f00', '#56b4e9', '#6e4b1f', '#8a8f98'];
const BAR = 44;
const GROUP_GAP = 28;
const POINT_GAP = 96;
/** Of a panel of lines. */
const MIN_PANEL = 380;
const MARGIN = { top: 84, right: 24, bottom: 76, left: 72 };
const PANEL_GAP = 80;
const HEIGHT = 240;
const MIN_WIDTH = 760;

function valuesOf({ kind, groups = [], lines = [] }) {
  const all =
    kind === 'lines'
      ? lines.flatMap(({ points }) => points.flatMap(({ y, high }) => [y, high]))
      : groups.flatMap(({ bars }) => bars.flatMap(({ value, low, high }) => [value, low, high]));
  return all.filter((value) => value !== undefined);
}

/** A round number of at least `value`: 1, 2 or 5 times a power of ten. */
function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 5, 10].map((step) => step * power).find((candidate) => candidate >= value);
}

/** `position(value)`: 0 at the bottom, 1 at the top; `marks`: values with a line. */
function axis(values, log) {
  if (log) {
    const low = Math.floor(Math.log10(Math.min(...values)));
    const high = Math.max(low + 1, Math.ceil(Math.log10(Math.max(...values))));
    const marks = Array.from({ length: high - low + 1 }, (_, at) => 10 ** (low + at));
    return { marks, position: (value) => (Math.log10(value) - low) / (high - low) };
  }
  const step = roundUp(Math.max(...values, Number.MIN_VALUE) / 5);
  const count = Math.ceil(Math.max(...values) / step);
  return {
    marks: Array.from({ length: count + 1 }, (_, at) => at * step),
    position: (value) => value / (step * count),
  };
}

function barsWidth({ groups }) {
  return groups.reduce((sum, { bars }) => sum + bars.length * BAR + GROUP_GAP, 0);
}

function xsOf({ lines }) {
  return [...new Set(lines.flatMap(({ points }) => points.map(({ x }) => x)))].sort((a, b) => a - b);
}

function widthOf(panel) {
  const inner = panel.kind === 'lines' ? Math.max(MIN_PANEL, xsOf(panel).length * POINT_GAP) : barsWidth(panel);
  return Math.max(inner, panel.title.length * 7);
}

function drawBars({ groups, unit }, left, _width, base, y, colour) {
  const parts = [];
  let x = left + GROUP_GAP / 2;
  for (const { label, bars } of groups) {
    parts.push(text(x + (bars.length * BAR) / 2, base + 18, label, { 'text-anchor': 'middle', class: 'size' }));
    for (const { series, value, low = value, high = value, under } of bars) {
      const top = y(value);
      const hint = `${series}, ${label}: ${quantity(value, unit)} (${quantity(low, unit)} to ${quantity(high, unit)})`;
      const bar = { x: x + 2, y: top, width: BAR - 4, height: Math.max(1, base - top), fill: colour(series) };
      const middle = x + BAR / 2;
      parts.push(tag('rect', bar, tag('title', {}, escaped(hint))));
      parts.push(tag('line', { x1: middle, x2: middle, y1: y(low), y2: y(high), class: 'range' }));
      parts.push(text(middle, y(high) - 5, quantity(value, unit), { 'text-anchor': 'middle', class: 'value' }));
      if (under !== undefined) parts.push(text(middle, base + 34, under, { 'text-anchor': 'middle', class: 'value' }));
      x += BAR;
    }
    x += GROUP_GAP;
  }
  return parts;
}

function drawLines(panel, left, width, base, y, colour) {
  const xs = xsOf(panel);
  const gap = width / xs.length;
  const at = (value) => left + gap / 2 + xs.indexOf(value) * gap;
  const parts = xs.map((value) =>
    text(at(value), base + 18, value.toLocaleString('en'), { 'text-anchor': 'middle', class: 'size' }),
  );
  parts.push(text(left + width / 2, base + 36, panel.xLabel, { 'text-anchor': 'middle', class: 'note' }));
  panel.lines.forEach(({ series, points, dashed = false }, line) => {
    const path = points.map(({ x, y: value }) => `${at(x).toFixed(1)},${y(value).toFixed(1)}`).join(' ');
    const stroke = {
      fill: 'none',
      stroke: colour(series),
      'stroke-width': 2,
      ...(dashed ? { 'stroke-dasharray': '4 3' } : {}),
    };
    parts.push(tag('polyline', { points: path, ...stroke }));
    for (const { x, y: value, high = value } of points) {
      const hint = `${series}, ${x}: ${quantity(value, panel.unit)}`;
      parts.push(
        tag('circle', { cx: at(x), cy: y(value), r: 3, fill: colour(series) }, tag('title', {}, escaped(hint))),
      );
      parts.push(tag('line', { x1: at(x), x2: at(x), y1: y(value), y2: y(high), class: 'range' }));
      const offset = line % 2 === 0 ? -8 : 14;
      parts.push(text(at(x) + 6, y(value) + offset, quantity(value, panel.unit), { class: 'value' }));
    }
  });
  return parts;
}

function drawPanel(panel, left, width, colour) {
  const base = MARGIN.top + HEIGHT;
  const { marks, position } = axis(valuesOf(panel), panel.log ?? false);
  const y = (value) => base - position(value) * HEIGHT;
  const parts = [text(left, MARGIN.top - 18, panel.title, { class: 'title' })];
  for (const mark of marks) {
    parts.push(tag('line', { x1: left, x2: left + width, y1: y(mark), y2: y(mark), class: 'grid' }));
    parts.push(text(left - 8, y(mark) + 4, quantity(mark, panel.unit), { 'text-anchor': 'end' }));
  }
  const draw = panel.kind === 'lines' ? drawLines : drawBars;
  parts.push(...draw(panel, left, width, base, y, colour));
  parts.push(tag('line', { x1: left, x2: left + width, y1: base, y2: base, class: 'axis' }));
  return parts.join('\n');
}

function legend(series, colour) {
  let x = 16;
  return series.map((name) => {
    const parts = tag('rect', { x, y: 52, width: 11, height: 11, fill: colour(name) }) + text(x + 16, 62, name);
    x += 28 + name.length * 6.5;
    return parts;
  });
}

/** The picture as SVG text. */
export function chart({ head, note, foot, series, panels }) {
  const colour = (name) => COLOURS[series.indexOf(name) % COLOURS.length];
  const widths = panels.map(widthOf);
  const inner = widths.reduce((sum, width) => sum + width, 0) + (panels.length - 1) * PANEL_GAP;
  const width = Math.max(MARGIN.left + inner + MARGIN.right, MIN_WIDTH);
  const height = MARGIN.top + 24 + HEIGHT + MARGIN.bottom;
  let left = MARGIN.left;
  const drawn = panels.map((panel, at) => {
    const part = drawPanel(panel, left, widths[at], colour);
    left += widths[at] + PANEL_GAP;
    return part;
  });
  const body = [
    tag('style', {}, STYLE),
    tag('rect', { width, height, fill: '#fff' }),
    text(16, 26, head, { class: 'head' }),
    text(16, 43, note, { class: 'note' }),
    ...legend(series, colour),
    tag('g', { transform: 'translate(0 24)' }, drawn.join('\n')),
    text(16, height - 10, foot, { class: 'note' }),
  ];
  const root = { xmlns: 'http://www.w3.org/2000/svg', viewBox: `0 0 ${width} ${height}`, width, height, role: 'img' };
  return `${tag('svg', root, `\n${body.join('\n')}\n`)}\n`;
}
