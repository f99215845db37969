/** Removes what the build made from TypeScript; the addon stays. */
import { rmSync } from 'node:fs';

rmSync(new URL('../dist', import.meta.url), { recursive: true, force: true });
