import Type, { type Static } from 'typebox';

const key = '[A-Za-z0-9](?:[A-Za-z0-9_./-]{0,61}[A-Za-z0-9])?';
const value = '[A-Za-z0-9_.:/@+-]{0,255}';

/** What sorts consumers: a model that names labels runs only where all of them are, with these values. */
export const Labels = Type.Record(
  Type.String({ pattern: `^${key}$` }),
  Type.String({ pattern: `^${value}$` }),
  { additionalProperties: false },
);
export type Labels = Static<typeof Labels>;

/** The same as it stands in a query or a setting: `key=value,key=value`; empty: none. */
export const LabelsText = Type.String({
  maxLength: 4_000,
  pattern: `^(?:${key}=${value}(?:,${key}=${value})*)?$`,
  description: 'As key=value,key=value.',
  examples: ['site=lab-2,disk=nvme'],
});

/** Undefined: a key stands there twice. */
export function parseLabels(text: string): Labels | undefined {
  const pairs = text === '' ? [] : text.split(',').map((pair) => pair.split('=', 2));
  const labels = Object.fromEntries(pairs) as Labels;
  return Object.keys(labels).length === pairs.length ? labels : undefined;
}
