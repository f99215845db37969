/** As much of a JSON Schema (draft-07) validator as our own schemas use; a keyword it does not know fails the test. */
type Schema = Readonly<Record<string, unknown>>;

const WORDS = new Set(['$schema', 'title', 'description', 'default', 'examples', 'patternErrorMessage']);

/** Whether the value is valid. */
export function accepts(schema: Schema, value: unknown): boolean {
  return Object.entries(schema).every(([keyword, rule]) => WORDS.has(keyword) || holds(keyword, rule, value, schema));
}

function holds(keyword: string, rule: unknown, value: unknown, schema: Schema): boolean {
  const isObject = typeof value === 'object' && value !== null && !Array.isArray(value);
  const entries = isObject ? Object.entries(value as Record<string, unknown>) : [];
  const properties = (schema.properties ?? {}) as Record<string, Schema>;
  switch (keyword) {
    case 'type':
      if (rule === 'integer') return Number.isInteger(value);
      if (rule === 'array') return Array.isArray(value);
      if (rule === 'object') return isObject;
      return typeof value === rule;
    case 'enum':
      return (rule as unknown[]).includes(value);
    case 'pattern':
      return typeof value !== 'string' || new RegExp(rule as string, 'u').test(value);
    case 'minimum':
      return typeof value !== 'number' || value >= (rule as number);
    case 'maximum':
      return typeof value !== 'number' || value <= (rule as number);
    case 'minLength':
      return typeof value !== 'string' || value.length >= (rule as number);
    case 'maxLength':
      return typeof value !== 'string' || value.length <= (rule as number);
    case 'anyOf':
      return (rule as Schema[]).some((option) => accepts(option, value));
    case 'required':
      return !isObject || (rule as string[]).every((key) => Object.hasOwn(value, key));
    case 'properties':
      return entries.every(
        ([key, member]) => !Object.hasOwn(properties, key) || accepts(properties[key] ?? {}, member),
      );
    case 'propertyNames':
      return entries.every(([key]) => accepts(rule as Schema, key));
    case 'additionalProperties':
      return entries.every(
        ([key, member]) => Object.hasOwn(properties, key) || (rule !== false && accepts(rule as Schema, member)),
      );
    case 'items':
      if (!Array.isArray(value)) return true;
      if (!Array.isArray(rule)) return value.every((item) => accepts(rule as Schema, item));
      return value.every((item, index) => accepts((rule[index] ?? {}) as Schema, item));
    case 'additionalItems':
      return !Array.isArray(value) || rule !== false || value.length <= (schema.items as unknown[]).length;
    case 'minItems':
      return !Array.isArray(value) || value.length >= (rule as number);
    default:
      throw new Error(`unknown keyword ${keyword}`);
  }
}
