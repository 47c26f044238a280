import type { ModelField } from '@inference-server/contracts';
import { elementForm } from './element-forms.js';
import { textSchema } from './text-form.js';

/**
 * The JSON Schema of an object with these inputs, or outputs, as the plain HTTP form has them. It cannot say
 * that lists in lists have to be of one length.
 */
export function jsonSchemaOf(fields: readonly ModelField[]): object {
  return {
    type: 'object',
    properties: Object.fromEntries(fields.map((field) => [field.name, fieldSchema(field)])),
    required: fields.map(({ name }) => name),
    additionalProperties: false,
  };
}

function fieldSchema(field: ModelField): object {
  const value = valueSchema(field);
  // Resources and variants live in a TensorFlow process: nothing stands for them, in no shape.
  if (value === undefined) return { not: {} };
  const { shape } = field;
  // Of any shape: one value, or lists in lists as deep as they like.
  if (shape === undefined) return { anyOf: [value, { type: 'array' }] };
  return shape.reduceRight<object>(
    (items, size) => ({
      type: 'array',
      items,
      ...(size !== -1 && { minItems: size, maxItems: size }),
    }),
    value,
  );
}

function valueSchema({ dtype, subfields }: ModelField): object | undefined {
  if (subfields !== undefined) return jsonSchemaOf(subfields);
  if (dtype === 'DT_STRING') return textSchema;
  // A map of which the contract names no value can come as an answer only.
  if (dtype === 'DT_MAP') return { type: 'object' };
  return dtype && elementForm(dtype)?.schema;
}
