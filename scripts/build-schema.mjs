/** After tsc: writes the JSON Schema of the spec beside the library, and makes the command executable. */
import { chmodSync, existsSync, writeFileSync } from 'node:fs';

const dist = new URL('../dist/', import.meta.url);

const { specJsonSchema } = await import(new URL('spec/schema.js', dist));
writeFileSync(new URL('schema.json', dist), `${JSON.stringify(await specJsonSchema(), null, 2)}\n`);

const command = new URL('cli/main.cjs', dist);
if (!existsSync(command))
  throw new Error('the build has no dist/cli/main.cjs, which package.json names as the command');
chmodSync(command, 0o755);
