#!/bin/sh
# Prints the linker's flags for a static program where this machine has a static C library; many distributions ship none.
echo 'int main(void) { return 0; }' | ${CC:-cc} -static -x c - -o /dev/null >/dev/null 2>&1 && echo -static -Wl,--gc-sections || true
