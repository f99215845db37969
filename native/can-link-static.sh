#!/bin/sh
# Prints 1 when this machine has a static C library (many distributions ship none), else 0.
echo 'int main(void) { return 0; }' | ${CC:-cc} -static -x c - -o /dev/null >/dev/null 2>&1 && echo 1 || echo 0
