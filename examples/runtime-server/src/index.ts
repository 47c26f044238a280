export { callModel, type ModelCall } from './call-model.js';
export { runModel } from './run-model.js';
export { serveModel, type Model, type ModelServer } from './serve-model.js';
export { floatTensor, integerTensor, textTensor } from './tensors.js';
