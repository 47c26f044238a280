import type { ModelContract } from '@inference-server/contracts';
import { checkedContract, invalidContract } from './contract-check.js';
import { faultOf, faults } from './document-scan.js';

/** More than the longest contract that the schema allows would need to say anything. */
const maxDepth = 32;

/**
 * A contract as it is given at registration, in JSON. A dtype may stand there without its DT_, and in any
 * case. Throws VALIDATION_FAILED with the place of what is wrong.
 */
export function parseContractJson(text: string): ModelContract {
  const fault = faultOf(text);
  if (fault !== undefined) throw invalidContract('', faults[fault]);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    // The text of JSON.parse repeats what it was given.
    throw invalidContract('', 'it is no JSON');
  }
  return checkedContract(withFullNames(value, 0));
}

/** What is no dtype or profile, or none that is known, is left for the check to find. */
function withFullNames(value: unknown, depth: number): unknown {
  if (depth > maxDepth) throw invalidContract('', 'it is nested too deeply');
  if (Array.isArray(value)) return value.map((item) => withFullNames(item, depth + 1));
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([key, item]: [string, unknown]) => {
      if (typeof item !== 'string') return [key, withFullNames(item, depth + 1)];
      if (key === 'dtype') return [key, `DT_${item.toUpperCase().replace(/^DT_/, '')}`];
      return [key, key === 'profile' ? item.toUpperCase() : item];
    }),
  );
}
