import { runModel } from '@inference-server/example-runtime-server';
import { createEchoModel } from './echo-model.js';

runModel(createEchoModel, process.env);
