/** `dying-deploy.mjs STATE before|after`: starts a program in v/x and dies just before, or just after, it is recorded. */
import { Store } from '../../dist/engine/store.js';
import { open } from '../../dist/index.js';

const [state, when] = process.argv.slice(2);
const { putApp } = Store.prototype;
Store.prototype.putApp = function (app) {
  if (when === 'after') putApp.call(this, app);
  process.kill(process.pid, 'SIGKILL');
};
const vpcctl = await open({ state });
await vpcctl.deployApp('v', { instance: 'x' }, { command: ['sleep', '1000'] });
