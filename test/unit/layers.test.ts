/**
 * The direction of imports under src, read from the files themselves: a second witness beside the linter's rules, which also
 * names a cycle between folders, and checks that the linter's table is this one.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { describe, expect, test } from 'vitest';

/** What each layer may import besides itself and the leaves; a file directly in src is a layer of its own. */
const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  errors: [],
  canonical: [],
  net: [],
  objects: ['net'],
  spec: ['net'],
  model: ['net', 'spec'],
  analyze: ['net', 'spec', 'model'],
  lower: ['net', 'spec', 'model', 'objects'],
  plan: ['net', 'objects'],
  netlink: ['net'],
  nft: ['net', 'objects'],
  kernel: ['net', 'objects', 'netlink', 'nft'],
  engine: ['net', 'objects', 'spec', 'model', 'analyze', 'lower', 'plan', 'kernel'],
  resolver: ['net', 'spec', 'model', 'lower', 'kernel', 'engine'],
  app: [],
  index: ['net', 'objects', 'spec', 'model', 'analyze', 'lower', 'plan', 'kernel', 'engine'],
  cli: ['index'],
};

/** Everybody but the leaves themselves and the command may import these. */
const LEAVES: readonly string[] = ['errors', 'canonical'];

interface Import {
  readonly file: string;
  readonly from: string;
  readonly to: string;
  readonly specifier: string;
}

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');

function layerOf(path: string): string {
  return (path.split('/')[0] ?? '').replace(/\.(ts|js)$/, '');
}

/** Relative imports of one file (path below src): static, re-exported, type-only and dynamic. */
function importsOf(file: string, text: string): Import[] {
  const { importedFiles } = ts.preProcessFile(text, true, true);
  return importedFiles
    .filter(({ fileName }) => fileName.startsWith('.'))
    .map(({ fileName }) => {
      const target = normalize(join(dirname(file), fileName));
      return { file, from: layerOf(file), to: layerOf(target), specifier: fileName };
    });
}

function violations(imports: readonly Import[]): string[] {
  const found: string[] = [];
  for (const { file, from, to, specifier } of imports) {
    if (from === to) continue;
    const may = MAY_IMPORT[from];
    if (may === undefined) {
      found.push(
        `src/${file}: src/${from} has no place in the layers; add it to the table, to biome.json and to CONTRIBUTING.md`,
      );
    } else if (!may.includes(to) && !(LEAVES.includes(to) && !LEAVES.includes(from) && from !== 'cli')) {
      found.push(`src/${file} imports ${specifier}: src/${from} may import only ${[...may, 'the leaves'].join(', ')}`);
    }
  }
  return found;
}

/** A cycle between layers as `a -> b -> a`; undefined when there is none. */
function cycle(imports: readonly Import[]): string | undefined {
  const edges = new Map<string, Set<string>>();
  for (const { from, to } of imports) {
    if (from !== to) edges.set(from, (edges.get(from) ?? new Set()).add(to));
  }
  const done = new Set<string>();
  const visit = (layer: string, path: readonly string[]): string | undefined => {
    const at = path.indexOf(layer);
    if (at >= 0) return [...path.slice(at), layer].join(' -> ');
    if (done.has(layer)) return undefined;
    for (const next of edges.get(layer) ?? []) {
      const found = visit(next, [...path, layer]);
      if (found !== undefined) return found;
    }
    done.add(layer);
    return undefined;
  };
  for (const layer of edges.keys()) {
    const found = visit(layer, []);
    if (found !== undefined) return found;
  }
  return undefined;
}

function sourceImports(): Import[] {
  const src = join(root, 'src');
  return readdirSync(src, { recursive: true, encoding: 'utf8' })
    .filter((name) => name.endsWith('.ts'))
    .flatMap((name) => importsOf(relative(src, join(src, name)), readFileSync(join(src, name), 'utf8')));
}

describe('imports under src', () => {
  test('point one way', () => {
    const imports = sourceImports();
    expect(imports.length).toBeGreaterThan(0);
    expect(violations(imports)).toEqual([]);
  });

  test('start from a known layer', () => {
    const known = Object.keys(MAY_IMPORT);
    const strange = readdirSync(join(root, 'src')).filter((entry) => !known.includes(layerOf(entry)));
    expect(strange, 'give it a place in this table, in biome.json and in CONTRIBUTING.md').toEqual([]);
  });

  test('make no cycle between folders', () => {
    expect(cycle(sourceImports())).toBeUndefined();
  });
});

describe('the check itself', () => {
  test('sees every kind of import', () => {
    const text = [
      `import { a } from '../kernel/a.js';`,
      `import type { B } from '../engine/b.js';`,
      `export { c } from '../lower/c.js';`,
      `const d = await import('../plan/d.js');`,
      `import { join } from 'node:path';`,
      `import { e } from './e.js';`,
    ].join('\n');
    expect(importsOf('model/x.ts', text).map(({ to }) => to)).toEqual(['kernel', 'engine', 'lower', 'plan', 'model']);
  });

  test.each([
    ['model/x.ts', '../kernel/native.js', 'src/model may import only net, spec, the leaves'],
    ['analyze/x.ts', '../lower/names.js', 'src/analyze may import only net, spec, model, the leaves'],
    ['cli/main.ts', '../errors.js', 'src/cli may import only index'],
    ['cli/commands/main.ts', '../../engine/apply.js', 'src/cli may import only index'],
    ['engine/store.ts', '../netlink/message.js', 'src/engine may import only'],
    ['net/cidr.ts', '../index.js', 'src/net may import only the leaves'],
    ['errors.ts', './canonical.js', 'src/errors may import only the leaves'],
    ['extra/x.ts', '../net/cidr.js', 'src/extra has no place in the layers'],
  ])('refuses %s importing %s', (file, specifier, reason) => {
    const found = violations(importsOf(file, `import { x } from '${specifier}';`));
    expect(found).toHaveLength(1);
    expect(found[0]).toContain(reason);
  });

  test.each([
    ['model/x.ts', '../spec/types.js'],
    ['cli/commands/x.ts', '../../index.js'],
    ['cli/commands/x.ts', '../output.js'],
    ['kernel/real/x.ts', '../../canonical.js'],
    ['index.ts', './engine/engine.js'],
  ])('admits %s importing %s', (file, specifier) => {
    expect(violations(importsOf(file, `import { x } from '${specifier}';`))).toEqual([]);
  });

  test('names a cycle', () => {
    const imports = [
      ...importsOf('net/a.ts', `import { x } from '../objects/b.js';`),
      ...importsOf('objects/b.ts', `import { x } from '../plan/c.js';`),
      ...importsOf('plan/c.ts', `import { x } from '../objects/d.js';`),
    ];
    expect(cycle(imports)).toBe('objects -> plan -> objects');
  });
});

interface Override {
  readonly includes: readonly string[];
  readonly linter: {
    readonly rules: {
      readonly style?: {
        readonly noRestrictedImports?: {
          readonly options: { readonly patterns: readonly { readonly group: readonly string[] }[] };
        };
      };
    };
  };
}

test('the linter refuses the same imports', () => {
  const { overrides } = JSON.parse(readFileSync(join(root, 'biome.json'), 'utf8')) as {
    overrides: readonly Override[];
  };
  const folders = Object.keys(MAY_IMPORT).filter((layer) => layer !== 'index' && !LEAVES.includes(layer));
  for (const [layer, may] of Object.entries(MAY_IMPORT)) {
    if (layer === 'index') continue;
    const includes = LEAVES.includes(layer) ? `src/${layer}.ts` : `src/${layer}/**`;
    const patterns = overrides
      .filter((override) => override.includes.includes(includes))
      .flatMap((override) => override.linter.rules.style?.noRestrictedImports?.options.patterns ?? []);
    const refused = patterns.flatMap(({ group }) => group);
    const expected = folders
      .filter((other) => other !== layer && !may.includes(other))
      .map((other) => `**/${other}/**`);
    expect(refused.filter((pattern) => pattern.endsWith('/**')).sort(), layer).toEqual(expected.sort());
    expect(refused.includes('**/index.js'), `${layer}: index`).toBe(layer !== 'cli');
    expect(refused.includes('**/errors.js'), `${layer}: errors`).toBe(layer === 'cli' || layer === 'canonical');
  }
});
