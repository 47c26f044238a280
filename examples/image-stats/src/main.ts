import { runModel } from '@inference-server/example-runtime-server';
import { createImageModel } from './image-model.js';

runModel(createImageModel, process.env);
