import type { OipServerMetadata } from '@inference-server/contracts';
import { oipModelMetadata, type OipModelMetadata } from '@inference-server/protos';
import { isHosted, type AnyModel } from '../core/hosted-models.js';
import type { Predictor } from '../core/predictor.js';

/** What both doors of the Open Inference Protocol tell of the server. */
export const oipServer: OipServerMetadata = {
  name: 'InferenceServer',
  version: '1.0.0',
  extensions: ['binary_tensor_data'],
};

/** And of a model. Throws VALIDATION_FAILED where it has a tensor for which the protocol has no type. */
export function describeModel(predictor: Predictor, model: AnyModel): OipModelMetadata {
  const { human_readable_id: name, version } = model;
  const [kind, contract] = isHosted(model) ? ['runtime', model.contract] : ['batch', nothing];
  const versions = new Set([...predictor.versionsOf(name), version]);
  const platform = `inferenceserver_${kind}`;
  return oipModelMetadata({ name, versions: [...versions].map(String), platform }, contract);
}

/** A batch model does not say what it takes and gives. */
const nothing = { inputs: [], outputs: [] };
