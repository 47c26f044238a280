import { routes, type Model } from '@inference-server/contracts';
import { jsonSchemaOf } from '@inference-server/protos';

type Json = Record<string, unknown>;

/** More would make a page that no browser shows in time. */
const most = 200;

/** The document with a path of its own for each runtime model: its inputs and outputs, as its contract has them. */
export function withRuntimeModels(document: Json, models: readonly Model[]): Json {
  const general = routes.predict.path.replace(/:(\w+)/g, '{$1}');
  const paths = document['paths'] as Record<string, { post?: Json }>;
  const operation = paths[general]?.post;
  const shown = models.filter(({ contract }) => contract !== null).slice(0, most);
  if (operation === undefined || shown.length === 0) return document;
  const own = shown.map((model) => [
    general.replace('{human_readable_id}', encodeURIComponent(model.human_readable_id)),
    { post: operationOf(model, operation) },
  ]);
  return { ...document, paths: { ...paths, ...Object.fromEntries(own) } };
}

/** That of any model, with this one's words and schemas. */
function operationOf(model: Model, operation: Json): Json {
  const { human_readable_id: id, version, description, contract } = model;
  const parameters = operation['parameters'] as { in: string }[];
  const responses = operation['responses'] as Record<string, Json>;
  const content = (fields: Parameters<typeof jsonSchemaOf>[0]) => ({
    'application/json': { schema: jsonSchemaOf(fields) },
  });
  return {
    ...operation,
    operationId: `predict of ${id}`,
    tags: ['runtime models'],
    summary: `Ask ${id}, version ${version}`,
    description: description === '' ? operation['description'] : description,
    parameters: parameters.filter((parameter) => parameter.in !== 'path'),
    requestBody: { required: true, content: content(contract?.inputs ?? []) },
    responses: {
      ...responses,
      200: { ...responses['200'], content: content(contract?.outputs ?? []) },
    },
  };
}
