import type { TObject } from 'typebox';

/**
 * `True` and `False` (as Python writes them) count as booleans in a query: returns the query with
 * the values of boolean parameters in the spelling that JSON Schema coercion knows. Anything else
 * is left for the validation to refuse.
 */
export function spellBooleans(
  schema: TObject,
  query: Record<string, unknown>,
): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(query).map(([name, value]) => {
      const property = schema.properties[name] as { type?: string } | undefined;
      const spelled =
        property?.type === 'boolean' && (value === 'True' || value === 'False')
          ? value.toLowerCase()
          : value;
      return [name, spelled];
    }),
  );
}
