import fc from 'fast-check';

/** `fc.assert` of a synchronous property, typed as that alone: nothing to await. */
export function assertProperty<Ts>(property: fc.IProperty<Ts>, parameters: fc.Parameters<Ts> = {}): void {
  void fc.assert(property, parameters);
}
