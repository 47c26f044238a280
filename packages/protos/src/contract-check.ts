import Value from 'typebox/value';
import { ModelContract, type ModelField } from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';

/**
 * A contract, or VALIDATION_FAILED with the place of the first thing that is wrong ("inputs[2].dtype").
 * What stands there is not repeated.
 */
export function checkedContract(value: unknown): ModelContract {
  const [error] = Value.Errors(ModelContract, value);
  if (error !== undefined) throw invalidContract(placeOf(error.instancePath), error.message);
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

/** /inputs/2/dtype as inputs[2].dtype; only names of the schema and numbers stand in it. */
function placeOf(pointer: string): string {
  return pointer
    .slice(1)
    .split('/')
    .map((part) => (/^\d+$/.test(part) ? `[${part}]` : `.${part}`))
    .join('')
    .replace(/^\./, '');
}
