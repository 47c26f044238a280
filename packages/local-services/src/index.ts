export { askDockerEngine, dockerAddress, type DockerAddress } from './ask-docker-engine.js';
export { startDockerEngine, type DockerEngineOptions } from './docker-engine.js';
export { endLeftovers } from './leftovers.js';
export { readLogTail } from './log-tail.js';
export { untilServing, type LocalService } from './local-service.js';
export { unmountAll } from './mounts.js';
export { findFreePort, isPortTaken } from './ports.js';
export { startPostgres, type PostgresOptions } from './postgres.js';
export { identityOf, isAlive, type ProcessIdentity, type ProcessRecord } from './process-record.js';
export { startRedis, type RedisOptions } from './redis.js';
export {
  startProcess,
  type ProcessEnd,
  type ProcessSpec,
  type RunningProcess,
} from './start-process.js';
export { waitUntil } from './wait-until.js';
