export { startApp, type AppSpec, type TestApp } from './app-process.js';
export { whenFileEnds } from './clean-up.js';
export { createTestDatabase, type TestDatabase } from './database.js';
export { createEngineApi, type EngineApi } from './engine-api.js';
export { testEngine, type TestEngine } from './engine.js';
export { testFolder } from './folder.js';
export { ownPostgres, ownRedis } from './own-services.js';
export { testRedis, type TestRedis } from './redis.js';
export { findFreePort as freePort, waitUntil } from '@inference-server/local-services';
