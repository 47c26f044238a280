import { readFileSync } from 'node:fs';
import Value from 'typebox/value';
import { parseDocument } from 'yaml';
import { Policy } from '@inference-server/contracts';
import { messageOf } from '@inference-server/errors';
import { ConfigError } from './config.js';

/**
 * The operator's policy, in YAML or JSON; without a file that which forbids nothing. Throws
 * {@link ConfigError} with every problem, and where it is.
 */
export function readPolicy(path: string | undefined): Policy {
  if (path === undefined) return {};
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new ConfigError(`POLICY_FILE: ${messageOf(error)}`);
  }
  const document = parseDocument(text, { uniqueKeys: true });
  const [broken] = document.errors;
  if (broken !== undefined) throw new ConfigError(`POLICY_FILE: ${broken.message.trim()}`);
  // An empty file would forbid nothing, which nobody writes a policy for.
  const policy: unknown = document.toJS();
  const problems = Value.Errors(Policy, policy).filter(({ keyword }) => keyword !== 'boolean');
  if (problems.length === 0) return policy as Policy;
  const lines = problems.map(({ instancePath, message, params }) => {
    const unknown = (params as { additionalProperties?: string[] }).additionalProperties;
    const place = instancePath === '' ? '' : ` ${instancePath.slice(1).replaceAll('/', '.')}:`;
    return `POLICY_FILE:${place} ${message}${unknown === undefined ? '' : `: ${unknown.join(', ')}`}`;
  });
  throw new ConfigError(lines.join('\n'));
}
