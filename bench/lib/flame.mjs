/**
 * Flame graphs as SVG text: `{ head, note, foot, flames: [{ title, count, stacks }, …] }`, one below the other, each as wide as the picture.
 * `stacks`: as of stacks.mjs; `count`: how many pieces of work they are of.
 */

import { KERNEL, treeOf } from './stacks.mjs';
import { escaped, quantity, STYLE, tag, text } from './svg.mjs';

const WIDTH = 1400;
const MARGIN = 16;
const TOP = 60;
const ROW = 15;
const TITLE = 34;
const LETTER = 5.4;
/** Narrower than this, a block is not drawn: nobody sees it. */
const NARROWEST = 0.7;
const COLOURS = { thread: ['#cfd6dd', '#dfe4e9'], kernel: ['#f2b179', '#f6c89d'], own: ['#8cc4e8', '#addaf3'] };

function depthOf({ children }) {
  return 1 + Math.max(0, ...children.map(depthOf));
}

function drawFlame({ title, count, stacks }, top) {
  const root = treeOf(stacks);
  const scale = (WIDTH - 2 * MARGIN) / root.us;
  const said = (us) => `${quantity(us / count / 1000)}, ${((100 * us) / root.us).toFixed(1)} %`;
  const parts = [
    text(MARGIN, top + 20, `${title}: ${quantity(root.us / count / 1000)} of processor`, { class: 'title' }),
  ];
  function draw({ name, us, children }, x, depth, inKernel) {
    const width = us * scale;
    if (width < NARROWEST) return;
    const y = top + TITLE + depth * ROW;
    const kind = inKernel || name === KERNEL || name.startsWith('kernel: ') ? 'kernel' : depth === 0 ? 'thread' : 'own';
    const fill = COLOURS[kind][depth % 2];
    const hint = tag('title', {}, escaped(`${name}: ${said(us)}`));
    parts.push(tag('rect', { x, y, width: width - 0.5, height: ROW - 1, fill }, hint));
    const letters = Math.floor((width - 6) / LETTER);
    if (letters >= 4) {
      const label = name.length <= letters ? name : `${name.slice(0, letters - 1)}…`;
      parts.push(text(x + 3, y + 11, label, { class: 'value', 'pointer-events': 'none' }));
    }
    let left = x;
    for (const child of children) {
      draw(child, left, depth + 1, kind === 'kernel');
      left += child.us * scale;
    }
  }
  let left = MARGIN;
  for (const child of root.children) {
    draw(child, left, 0, false);
    left += child.us * scale;
  }
  return { parts, height: TITLE + (depthOf(root) - 1) * ROW + 10 };
}

/** The picture as SVG text. */
export function flameGraph({ head, note, foot, flames }) {
  const parts = [text(MARGIN, 26, head, { class: 'head' }), text(MARGIN, 43, note, { class: 'note' })];
  let top = TOP;
  for (const flame of flames) {
    const drawn = drawFlame(flame, top);
    parts.push(...drawn.parts);
    top += drawn.height;
  }
  const height = top + 24;
  parts.push(text(MARGIN, height - 10, foot, { class: 'note' }));
  const ground = tag('rect', { width: WIDTH, height, fill: '#fff' });
  const root = {
    xmlns: 'http://www.w3.org/2000/svg',
    viewBox: `0 0 ${WIDTH} ${height}`,
    width: WIDTH,
    height,
    role: 'img',
  };
  return `${tag('svg', root, `\n${[tag('style', {}, STYLE), ground, ...parts].join('\n')}\n`)}\n`;
}
