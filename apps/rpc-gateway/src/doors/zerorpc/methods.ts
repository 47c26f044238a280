import { ZeroRpcError, type MethodTable, type ZeroRpcMethod } from '@inference-server/zerorpc';
import type { Admitted, Callers } from '../callers.js';
import type { ZeroRpcAccess } from './access.js';
import {
  createModelList,
  metadataOf,
  methodNameOf,
  type ListedModel,
  type ModelList,
} from './model-list.js';
import { predictOnce, type PredictOptions } from './predict.js';
import { asTold } from './told-error.js';

export interface ModelMethodsOptions extends PredictOptions {
  access: ZeroRpcAccess;
  callers: Callers;
}

/** The models that there are at the moment, each a method, as far as they are for who calls. */
export function modelMethods(options: ModelMethodsOptions): MethodTable {
  const { access, callers, predictor } = options;
  const listNow = createModelList(() => predictor.models());

  async function listFor(admitted: Admitted, signal: AbortSignal): Promise<readonly ListedModel[]> {
    if (!predictor.isReady()) await predictor.refresh(signal);
    return listNow().all.filter((listed) => isFor(admitted, listed));
  }

  async function findModel(
    where: (list: ModelList) => ListedModel | undefined,
    signal: AbortSignal,
  ): Promise<ListedModel | undefined> {
    const listed = where(listNow());
    if (listed !== undefined) return listed;
    // It may have been registered a moment ago.
    await predictor.refresh(signal);
    return where(listNow());
  }

  const authenticate: ZeroRpcMethod = {
    doc: 'Show a token for the calls that follow on this connection.',
    parameters: [{ name: 'token' }],
    call: ([token], call) =>
      asTold(async () => {
        await access.authenticate(token, call);
        return true;
      }),
  };

  const getModels = (admitted: Admitted): ZeroRpcMethod => ({
    doc: 'Return list of models hosted in this service.',
    parameters: [],
    call: (_args, { signal }) =>
      asTold(async () => (await listFor(admitted, signal)).map(({ told }) => told)),
  });

  const getMetadata = (admitted: Admitted): ZeroRpcMethod => ({
    doc: 'Return metadata about a model hosted by the service.',
    parameters: [{ name: 'qualified_name' }],
    call: ([name], { signal }) =>
      asTold(async () => {
        const found =
          typeof name === 'string'
            ? await findModel(({ byQualifiedName }) => byQualifiedName.get(name), signal)
            : undefined;
        if (found !== undefined && isFor(admitted, found)) return metadataOf(found);
        throw new ZeroRpcError('ValueError', 'Metadata not found for this model.');
      }),
  });

  const predictOf = (listed: ListedModel, admitted: Admitted): ZeroRpcMethod => ({
    doc: `Predict with the ${listed.displayName}.`,
    parameters: [{ name: 'data' }],
    call: ([data], call) => asTold(() => predictOnce(listed.model, data, call, admitted, options)),
  });

  return {
    find: (name, call) =>
      asTold(async () => {
        if (name === 'authenticate') return authenticate;
        const admitted = await access.admit(call);
        if (name === 'get_models') return getModels(admitted);
        if (name === 'get_model_metadata') return getMetadata(admitted);
        if (!name.endsWith('_predict')) return undefined;
        requireMethod(callers, admitted, name);
        const found = await findModel(({ byMethodName }) => byMethodName.get(name), call.signal);
        if (found === undefined) return undefined;
        callers.requireModel(admitted, found.model.human_readable_id);
        return predictOf(found, admitted);
      }),

    list: (call) =>
      asTold(async () => {
        const ours: [string, ZeroRpcMethod][] = access.isOpen
          ? []
          : [['authenticate', authenticate]];
        if (!access.isOpen && !access.hasShown(call)) return ours;
        const admitted = await access.admit(call);
        const models = await listFor(admitted, call.signal);
        return [
          ['get_models', getModels(admitted)],
          ['get_model_metadata', getMetadata(admitted)],
          ...ours,
          ...models.map((one): [string, ZeroRpcMethod] => [
            one.methodName,
            predictOf(one, admitted),
          ]),
        ];
      }),
  };
}

function isFor({ onlyModel }: Admitted, { model }: ListedModel): boolean {
  return onlyModel === null || onlyModel === model.human_readable_id;
}

/** Throws FORBIDDEN for every method but that of the model that a token is for, be there such a model or not. */
function requireMethod(callers: Callers, admitted: Admitted, name: string): void {
  const { onlyModel } = admitted;
  if (onlyModel === null || name === methodNameOf(onlyModel)) return;
  callers.requireModel(admitted, '');
}
