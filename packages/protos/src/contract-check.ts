import Value from 'typebox/value';
import { ModelContract, type ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';

/**
 * A contract, or VALIDATION_FAILED with the place of the first thing that is wrong ("inputs[2].dtype").
 * What stands there is not repeated.
 */
export function checkedContract(value: unknown): ModelContract {
  const [error] = Value.Errors(ModelContract, value);
  if (error !== undefined) {
    const isKey = error.keyword === 'boolean';
    const message = isKey ? 'has a key that a contract does not have' : error.message;
    throw invalidContract(placeOf(error.instancePath), message);
  }
  const contract = value as ModelContract;
  checkFields(contract.inputs, 'inputs');
  checkFields(contract.outputs, 'outputs');
  return contract;
}

export function invalidContract(place: string, message: string): AppError {
  const where = place === '' ? '' : `${place}: `;
  return new AppError('VALIDATION_FAILED', `The contract is invalid: ${where}${message}`, {
    extensions: { parameter: 'contract' },
  });
}

/** What the schema does not say. */
function checkFields(fields: ModelField[], place: string): void {
  const names = new Set<string>();
  fields.forEach((field, index) => {
    const at = `${place}[${index}]`;
    if (names.has(field.name)) throw invalidContract(`${at}.name`, 'the name stands there twice');
    names.add(field.name);
    if (field.dtype === undefined && field.subfields === undefined) {
      throw invalidContract(at, 'has neither a dtype nor subfields');
    }
    if (field.dtype !== undefined && field.subfields !== undefined) {
      throw invalidContract(at, 'has both a dtype and subfields');
    }
    if (field.subfields !== undefined) checkFields(field.subfields, `${at}.subfields`);
  });
}

const keys = new Set(['signature_name', 'inputs', 'outputs', 'name', 'dtype', 'subfields']);
for (const key of ['shape', 'profile']) keys.add(key);

/** /inputs/2/dtype as inputs[2].dtype; a key that the schema does not have is left out. */
function placeOf(pointer: string): string {
  return pointer
    .split('/')
    .map((part) => (/^\d+$/.test(part) ? `[${part}]` : keys.has(part) ? `.${part}` : ''))
    .join('')
    .replace(/^\./, '');
}
