import Type from 'typebox';
import { createDockerEngine } from '@inference-server/container-engine';
import {
  configOrExit,
  createLogger,
  logFilesOf,
  loadConfig,
  runSweepCommand,
} from '@inference-server/service-kit';
import { Config } from './config.js';
import { createEngineSweeps } from './engine-sweeps.js';
import { callerOf } from './identities.js';
import { createNames } from './names.js';
import { createPrivateApiClient } from './private-api-client.js';

/**
 * `node dist/sweep.js`: sweeps the engine once, beside the consumers that do so all the time. With
 * `--dry-run` it only says what would go. Takes the settings of a consumer, and speaks to private-api
 * under its name, without registering: that consumer may run. What it has left counts as an orphan
 * like anybody's, once it is gone for good.
 */
const Settings = Type.Omit(Config, ['REDIS_URL']);
const settings = configOrExit('sweep', () => loadConfig(Settings, process.env));
const logger = createLogger('sweep', settings.LOG_LEVEL, logFilesOf(settings));

await runSweepCommand(process.argv.slice(2), async (signal) => {
  const consumer = callerOf(settings);
  const api = createPrivateApiClient({
    url: settings.PRIVATE_API_URL,
    token: consumer.token,
    consumerId: consumer.id,
  });
  try {
    const { installation_id: installationId } = await api.goneConsumers([], signal);
    const sweeps = createEngineSweeps(
      {
        engine: createDockerEngine({ dockerHost: settings.DOCKER_HOST }),
        names: createNames(installationId, consumer.id),
        api,
        now: () => new Date(),
        logger,
      },
      {
        own: undefined,
        modelVolumes: {
          maxAgeMs: settings.MODEL_VOLUME_MAX_AGE_S * 1000,
          maxBytes: settings.MODEL_VOLUMES_MAX_BYTES,
        },
      },
    );
    return { sweeps, close: () => api.close() };
  } catch (error) {
    await api.close();
    throw error;
  }
});
