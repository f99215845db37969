/** What pictures are written with. */

export const STYLE = [
  'text{font:11px system-ui,sans-serif;fill:#24292f}',
  '.head{font-size:15px;font-weight:600}.title{font-size:13px;font-weight:600}',
  '.size{font-size:12px}.value{font-size:10px}',
  '.note{font-size:10px;fill:#57606a}.grid{stroke:#d8dee4}.axis{stroke:#24292f}',
  '.range{stroke:#24292f;stroke-opacity:.55}',
].join('');

export function escaped(text) {
  return String(text).replace(/[&<>"]/g, (sign) => ({ '&': '&amp;', '<': '&lt;', '>': '&gt;', '"': '&quot;' })[sign]);
}

export function tag(name, attributes, body) {
  const list = Object.entries(attributes).map(([key, value]) => {
    return ` ${key}="${typeof value === 'number' ? Math.round(value * 100) / 100 : escaped(value)}"`;
  });
  return `<${name}${list.join('')}${body === undefined ? '/>' : `>${body}</${name}>`}`;
}

export function text(x, y, body, attributes = {}) {
  return tag('text', { x, y, ...attributes }, escaped(body));
}

/** A value as a reader says it: 0.85 ms, 12 ms, 3.4 s, 17 Gbit/s. */
export function quantity(value, unit = 'ms') {
  if (unit === 'ms' && value >= 1000) return `${(value / 1000).toFixed(value >= 10_000 ? 0 : 1)} s`;
  const digits = value === 0 || value >= 10 ? 0 : value < 1 ? 2 : 1;
  return `${value.toFixed(digits)} ${unit}`.trim();
}
