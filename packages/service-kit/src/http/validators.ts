import { Ajv, type Options } from 'ajv';
import type { FastifySchemaCompiler } from 'fastify';

/**
 * What comes as text (path, query) is coerced to the types of its schema; a JSON body has types of
 * its own and is taken at its word: coercion would turn a null into an empty text.
 */
export function createValidatorCompiler(): FastifySchemaCompiler<object> {
  const text = new Ajv({ ...options, coerceTypes: true });
  const json = new Ajv(options);
  return ({ schema, httpPart }) => (httpPart === 'body' ? json : text).compile(schema);
}

const options: Options = {
  useDefaults: true,
  removeAdditional: false,
  allErrors: false,
  strict: false,
  // Formats describe answers; what we accept is held against patterns.
  validateFormats: false,
};
