import { qualifiedNameOf } from '@inference-server/contracts';
import { jsonSchemaOf } from '@inference-server/protos';
import { isHosted, type AnyModel } from '../../core/hosted-models.js';

/** A model as clients of ZeroRPC see it. */
export interface ListedModel {
  model: AnyModel;
  displayName: string;
  /** Of its `predict`. */
  methodName: string;
  /** An entry of `get_models`. */
  told: Readonly<Record<string, unknown>>;
}

export interface ModelList {
  all: readonly ListedModel[];
  byQualifiedName: ReadonlyMap<string, ListedModel>;
  byMethodName: ReadonlyMap<string, ListedModel>;
}

/**
 * Reads the list that there is at the moment, made anew only when the models have changed. Registration lets no two
 * have one qualified name. Of those that were there before it looked, the one is listed that has it as its id, else
 * the first.
 */
export function createModelList(models: () => readonly AnyModel[]): () => ModelList {
  let read: readonly AnyModel[] | undefined;
  let list: ModelList | undefined;
  return () => {
    const now = models();
    if (list === undefined || read !== now) list = listOf(now);
    read = now;
    return list;
  };
}

export const methodNameOf = (humanReadableId: string) =>
  `${qualifiedNameOf(humanReadableId)}_predict`;

/** The entry of a model, and what may be given to it and is answered. */
export function metadataOf({ model, told }: ListedModel): Record<string, unknown> {
  const { inputs, outputs } = isHosted(model) ? model.contract : {};
  const schemaOf = (fields: typeof inputs) => (fields ? jsonSchemaOf(fields) : { type: 'object' });
  return { ...told, input_schema: schemaOf(inputs), output_schema: schemaOf(outputs) };
}

function listOf(models: readonly AnyModel[]): ModelList {
  const byQualifiedName = new Map<string, ListedModel>();
  for (const model of models) {
    const qualified = qualifiedNameOf(model.human_readable_id);
    const isItsOwn = qualified === model.human_readable_id;
    if (isItsOwn || !byQualifiedName.has(qualified))
      byQualifiedName.set(qualified, toListed(model));
  }
  const all = [...byQualifiedName.values()];
  const byMethodName = new Map(all.map((listed) => [listed.methodName, listed]));
  return { all, byQualifiedName, byMethodName };
}

function toListed(model: AnyModel): ListedModel {
  const { human_readable_id: displayName, description, version } = model;
  return {
    ...{ model, displayName, methodName: methodNameOf(displayName) },
    told: {
      display_name: displayName,
      qualified_name: qualifiedNameOf(displayName),
      description,
      major_version: version,
      minor_version: 0,
    },
  };
}
