import { readFileSync } from 'node:fs';
import { envSchema } from 'env-schema';
import type { Static, TObject } from 'typebox';
import { messageOf } from '@inference-server/errors';

/** Thrown with every problem of the environment at once, one a line. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/**
 * Reads the settings that `schema` names out of `environment`. A setting NAME may also come as
 * NAME_FILE, the path of a file that holds it (docker secrets). An empty value counts as unset.
 * Throws {@link ConfigError}.
 */
export function loadConfig<Schema extends TObject>(
  schema: Schema,
  environment: NodeJS.ProcessEnv,
): Static<Schema> {
  const problems: string[] = [];
  const data: Record<string, string> = {};
  for (const name of Object.keys(schema.properties)) {
    const value = readSetting(name, environment, problems);
    if (value !== undefined && value !== '') data[name] = value;
  }
  try {
    const config = envSchema<Static<Schema> & Record<string, unknown>>({
      schema,
      data,
      env: false,
      ajv: {
        customOptions: (ajv) => Object.assign(ajv, { opts: { ...ajv.opts, allErrors: true } }),
      },
    });
    if (problems.length === 0) return config;
  } catch (error) {
    problems.push(...problemsOf(error));
  }
  throw new ConfigError(problems.join('\n'));
}

function readSetting(
  name: string,
  environment: NodeJS.ProcessEnv,
  problems: string[],
): string | undefined {
  const file = environment[`${name}_FILE`];
  if (file === undefined || file === '') return environment[name];
  try {
    return readFileSync(file, 'utf8').trim();
  } catch (error) {
    problems.push(`${name}_FILE: ${messageOf(error)}`);
    return undefined;
  }
}

function problemsOf(error: unknown): string[] {
  const { errors } = error as {
    errors?: { instancePath: string; message?: string; params?: { missingProperty?: string } }[];
  };
  if (errors === undefined) return [messageOf(error)];
  return errors.map(({ instancePath, message, params }) => {
    const name = params?.missingProperty ?? instancePath.slice(1);
    return params?.missingProperty === undefined ? `${name}: ${message}` : `${name}: is required`;
  });
}
