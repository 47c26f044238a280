import { readFileSync } from 'node:fs';
import { envSchema } from 'env-schema';
import type { Static, TObject } from 'typebox';
import { messageOf, systemCode } from '@inference-server/errors';
import { secretMarkOf, weaknessOf } from './secret.js';

/** Thrown with every problem of the environment at once, one a line. No line holds a value. */
export class ConfigError extends Error {
  override readonly name = 'ConfigError';
}

/**
 * Reads the settings that `schema` names out of `environment`. A setting NAME may also come as
 * NAME_FILE, the path of a file that holds it (docker secrets). An empty value counts as unset.
 * Those that the schema marks as secret must be hard to guess. Throws {@link ConfigError}.
 */
export function loadConfig<Schema extends TObject>(
  schema: Schema,
  environment: NodeJS.ProcessEnv,
): Static<Schema> {
  const problems = new Map<string, string>();
  const data: Record<string, string> = {};
  for (const [name, property] of Object.entries(schema.properties)) {
    const value = settingOf(name, property, environment, problems);
    if (value !== undefined) data[name] = value;
  }
  try {
    const config = envSchema<Static<Schema> & Record<string, unknown>>({
      schema,
      data,
      env: false,
      ajv: {
        customOptions: (ajv) => {
          ajv.addKeyword('secret');
          return Object.assign(ajv, { opts: { ...ajv.opts, allErrors: true } });
        },
      },
    });
    if (problems.size === 0) return config;
  } catch (error) {
    for (const [name, problem] of problemsOf(error, schema)) {
      if (!problems.has(name)) problems.set(name, problem);
    }
  }
  throw new ConfigError([...problems].map(([name, problem]) => `${name}: ${problem}`).join('\n'));
}

/** The environment for processes to which the settings of `schema` are handed on by name. */
export function withoutSecrets(schema: TObject, environment: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  const secrets = Object.entries(schema.properties).flatMap(([name, property]) => {
    const mark = secretMarkOf(property);
    return mark === undefined
      ? []
      : [name, ...(mark.password === undefined ? [] : [mark.password])];
  });
  const left = new Set(secrets.flatMap((name) => [name, `${name}_FILE`]));
  return Object.fromEntries(Object.entries(environment).filter(([name]) => !left.has(name)));
}

type Problems = Map<string, string>;

function settingOf(
  name: string,
  property: object,
  environment: NodeJS.ProcessEnv,
  problems: Problems,
): string | undefined {
  const mark = secretMarkOf(property);
  if (mark?.kind === 'strong') return readSecret(name, environment, problems);
  const value = readSetting(name, environment, problems);
  if (mark?.kind !== 'address') return value;
  // An error of whoever fails to read it later would show it.
  if (value !== undefined && !URL.canParse(value)) {
    problems.set(
      name,
      'is no URL; what is neither letter nor digit in its password must be percent-encoded',
    );
    return undefined;
  }
  if (mark.password === undefined) return value;
  const password = readSecret(mark.password, environment, problems);
  if (password === undefined) return value;
  if (value === undefined) {
    problems.set(mark.password, `there is no ${name} for it`);
    return undefined;
  }
  return withPassword(value, password, { name, of: mark.password, problems });
}

function withPassword(
  address: string,
  password: string,
  { name, of, problems }: { name: string; of: string; problems: Problems },
): string {
  const url = new URL(address);
  if (url.password !== '') problems.set(of, `${name} has a password already`);
  url.password = encodeURIComponent(password);
  // An address without a host takes none, and says nothing.
  if (url.password === '') problems.set(of, `${name} names no host to which it belongs`);
  return url.href;
}

function readSecret(
  name: string,
  environment: NodeJS.ProcessEnv,
  problems: Problems,
): string | undefined {
  const value = readSetting(name, environment, problems);
  const weakness = value === undefined ? undefined : weaknessOf(value);
  if (weakness === undefined) return value;
  problems.set(name, weakness);
  return undefined;
}

/** Of a file nothing is told but its name's setting: the value may stand there by mistake. */
function readSetting(
  name: string,
  environment: NodeJS.ProcessEnv,
  problems: Problems,
): string | undefined {
  const value = environment[name] === '' ? undefined : environment[name];
  const file = environment[`${name}_FILE`] ?? '';
  if (file === '') return value;
  if (value !== undefined) {
    problems.set(name, `is given twice, by ${name} and by ${name}_FILE`);
    return undefined;
  }
  try {
    const text = readFileSync(file, 'utf8').replace(/\r?\n$/, '');
    if (text !== '') return text;
    problems.set(name, `the file of ${name}_FILE is empty`);
  } catch (error) {
    const why = systemCode(error) ?? 'it is no path';
    problems.set(name, `the file of ${name}_FILE cannot be read (${why})`);
  }
  return undefined;
}

function problemsOf(error: unknown, { properties }: TObject): [name: string, problem: string][] {
  const { errors } = error as {
    errors?: {
      instancePath: string;
      keyword?: string;
      message?: string;
      params?: { missingProperty?: string };
    }[];
  };
  if (errors === undefined) return [['settings', messageOf(error)]];
  return errors.map(({ instancePath, keyword, message = 'is not valid', params }) => {
    const missing = params?.missingProperty;
    if (missing !== undefined) return [missing, 'is required'];
    const name = instancePath.slice(1);
    const description = (properties[name] as { description?: string } | undefined)?.description;
    // A pattern alone says to few what is meant.
    const isClear = keyword !== 'pattern' || description === undefined;
    return [name, isClear ? message : `${message} (${description})`];
  });
}
