import { runModel } from '@inference-server/example-runtime-server';
import { createIrisModel } from './iris-model.js';

runModel(createIrisModel, process.env);
