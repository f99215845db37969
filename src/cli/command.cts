#!/usr/bin/env node
/**
 * What package.json calls `vpcctl`. Where npm installs the package, native/install-client.mjs puts the native client in this file's place; this one
 * starts the command where it has not.
 */
require('./main.cjs');
