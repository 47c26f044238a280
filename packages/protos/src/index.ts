export {
  batchInputOf,
  readBatchOutput,
  withFiles,
  type BatchInput,
  type BatchOutput,
} from './batch-documents.js';
export {
  contentOfOutputs,
  contentOfValues,
  inputsOfContent,
  metadataOfValues,
  takesContentAsIs,
} from './content-form.js';
export { parseContractJson } from './contract-json.js';
export { decodeModelContract, encodeModelContract } from './contract-message.js';
export { contractViolation, type ContractViolation } from './contract-violation.js';
export { fileDescriptors } from './file-descriptors.js';
export {
  decodeInvocationRequest,
  decodeInvocationResponse,
  decodeModelInput,
  decodeModelOutput,
  encodeInvocationRequest,
  encodeInvocationResponse,
  encodeModelInput,
  encodeModelOutput,
  type InvocationResponse,
  type MetadataEntry,
  type ModelInput,
  type ModelOutput,
} from './invocation-message.js';
export { jsonSchemaOf } from './json-schema.js';
export { inferRequestFromJson, inferResponseAsJson } from './oip-json.js';
export {
  decodeInferRequest,
  decodeOipModelRequest,
  encodeInferResponse,
  encodeOipModelMetadata,
  encodeOipServerMetadata,
  encodeOipState,
} from './oip-message.js';
export { oipModelMetadata, type OipModelMetadata } from './oip-metadata.js';
export { inferOutputsOf, type InferOutput } from './oip-outputs.js';
export { contractOfInferRequest, tensorsOfInferRequest, type InferRequest } from './oip-request.js';
export { predictRequestFromJson, tensorsOfPlain } from './plain-inputs.js';
export { jsonFromPredictResponse, plainOutputs } from './plain-outputs.js';
export {
  encodeInputs,
  encodeModelSpec,
  encodeOutputs,
  outlinePredictRequest,
  outlinePredictResponse,
  type ModelSpec,
  type PredictRequestOutline,
  type PredictResponseOutline,
} from './predict-message.js';
export {
  decodeAuthRequest,
  decodeAuthResponse,
  decodeStreamRequest,
  decodeStreamResponse,
  encodeAuthRequest,
  encodeAuthResponse,
  encodeStreamRequest,
  encodeStreamResponse,
  type AuthResponse,
  type StreamRequest,
} from './redhare-message.js';
export { canBatch, concatInputs, rowsOf, splitOutputs, type Rows } from './rows.js';
export { contentOf, dimsOf, encodeContent, encodeStrings, stringsOf } from './tensor-content.js';
export type { TensorOutline, TensorShape } from './tensor-outline.js';
export { jsonOfValues } from './telling.js';
export { tensorsOfValues, valuesOfTensors } from './value-tensors.js';
export { valuesOfJson } from './value-tree.js';
