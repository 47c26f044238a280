import {
  usualRuntime,
  type ModelContract,
  type ModelKind,
  type QueryOf,
  type routes,
  type RuntimeSettings,
} from '@inference-server/contracts';
import { AppError } from '@inference-server/errors';
import { decodeModelContract, parseContractJson } from '@inference-server/protos';
import type { FormText } from '../../http/form-text.js';
import type { ReceivedBlob } from '../blobs/service.js';
import { refused } from './refused.js';

export type Registration = QueryOf<typeof routes.postModel>;

/** What a version says beside its image, its needs and its files. */
export interface KindOfModel {
  kind: ModelKind;
  contract: ModelContract | null;
  hasContractFile: boolean;
  runtime: RuntimeSettings;
}

/** Its columns, each of the name that it has in the contract. */
const settings = Object.keys(usualRuntime) as (keyof RuntimeSettings)[];
export const kindColumns = ['kind', 'contract', 'has_contract_file', ...settings].join(', ');

/** What only a task has: the time it may take, more tries, an input and an output. */
const ofTasks = ['timeout_s', 'retries', 'retention_s', 'input_retention_s'] as const;

/** The contract of a registration, be it in the query or in the form. */
export interface GivenContract {
  /** Undefined: none, or none yet. */
  get: () => ModelContract | undefined;
  part: FormText;
}

/** Throws VALIDATION_FAILED for one that is none, DUPLICATE_PARAMETER for a second one. */
export function contractOf({ contract: text }: Registration): GivenContract {
  let given = text === undefined ? undefined : storable(parseContractJson(text));
  return {
    get: () => given,
    part: {
      name: 'contract',
      maxBytes: 64 * 1024,
      take: (json) => {
        if (given !== undefined) throw givenTwice();
        given = storable(parseContractJson(json));
      },
    },
  };
}

/** What can be told of it before its files are there. Throws VALIDATION_FAILED. */
export function requireOfKind(asked: Registration, kind: ModelKind | undefined): void {
  if (kind === 'runtime') refuseAny(asked, ofTasks, 'is for models of kind=batch');
  if (kind === 'batch') refuseAny(asked, ['contract', ...settings], forRuntime);
  const { min_replicas, max_replicas } = { ...usualRuntime, ...asked };
  if (min_replicas > max_replicas) {
    throw refused('min_replicas', `is more than max_replicas, which is ${max_replicas}`);
  }
}

/**
 * A model is what it says it is; of one that says nothing its files do: with a contract.protobin it is a runtime
 * model. Throws VALIDATION_FAILED where contract and files contradict what it says, or each other.
 */
export function kindOf(
  asked: Registration,
  given: ModelContract | undefined,
  files: ReceivedBlob | null,
): KindOfModel {
  const file = files?.contractFile;
  if (file !== undefined && asked.kind === 'batch') {
    throw refused(
      'kind',
      'is batch, and contract.protobin at the root of the zip is of a runtime model',
    );
  }
  if (file !== undefined && given !== undefined) {
    throw refused('contract', 'comes beside the contract.protobin of the zip');
  }
  if (file === 'too_large') throw refused('zip_file', 'has a contract.protobin of more than 1 MiB');
  const kind = asked.kind ?? (file === undefined ? 'batch' : 'runtime');
  requireOfKind(asked, kind);
  if (kind === 'batch') {
    if (given !== undefined) throw refused('contract', forRuntime);
    return { kind, contract: null, hasContractFile: false, runtime: usualRuntime };
  }
  const contract = given ?? (file && storable(decodeModelContract(Buffer.from(file))));
  if (contract === undefined) {
    throw refused(
      'contract',
      'is missing: a runtime model has one, or a contract.protobin at the root of its zip',
    );
  }
  const runtime = Object.fromEntries(
    settings.map((name) => [name, asked[name] ?? usualRuntime[name]]),
  ) as RuntimeSettings;
  return { kind, contract, hasContractFile: file !== undefined, runtime };
}

const forRuntime = 'is for models of kind=runtime';

function refuseAny(asked: Registration, names: readonly (keyof Registration)[], why: string): void {
  const name = names.find((each) => asked[each] !== undefined);
  if (name !== undefined) throw refused(name, why);
}

/** As it is stored: without what is undefined, and without what the database has no place for. */
function storable(contract: ModelContract): ModelContract {
  const json = JSON.stringify(contract);
  // Half a character, or a NUL, behind a backslash that is no character itself.
  if (/(?<!\\)(?:\\\\)*\\u(?:d[89a-f]|0000)/i.test(json))
    throw refused('contract', 'has a name that is no text');
  return JSON.parse(json) as ModelContract;
}

function givenTwice(): AppError {
  return new AppError('DUPLICATE_PARAMETER', 'The contract is given twice.', {
    extensions: { parameter: 'contract' },
  });
}
