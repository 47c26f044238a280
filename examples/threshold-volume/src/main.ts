import { InputError } from './input-error.js';
import { processVolumes } from './process-volumes.js';

/** The folders that every model of InferenceServer finds in its container. */
const folders = { inputFolder: '/input', modelFolder: '/model', outputFolder: '/output' };

// Exit code 0 tells the server that the task is finished; any other fails it, with the last lines
// of the log shown to whoever posted it.
processVolumes({ ...folders, log: (line) => console.log(line) }).catch((error: unknown) => {
  console.error(error instanceof InputError ? error.message : error);
  process.exitCode = 1;
});
