import { serveModel, type Model } from './serve-model.js';

/**
 * A runtime container's process, from its start to SIGTERM. APP_PORT is set by InferenceServer; MODEL_FOLDER
 * is for trying it out without a container.
 */
export function runModel(
  createModel: (filesFolder: string) => Promise<Model>,
  environment: NodeJS.ProcessEnv,
): void {
  const folder = environment['MODEL_FOLDER'] ?? '/model';
  const port = Number(environment['APP_PORT'] ?? 9090);
  serveModel({ createModel, folder, port }).then(
    (server) => {
      console.log(`listening on ${server.port}`);
      const stop = () => void server.close().then(() => process.exit(0));
      process.once('SIGTERM', stop);
      process.once('SIGINT', stop);
    },
    (error: unknown) => {
      console.error(error);
      process.exitCode = 1;
    },
  );
}
