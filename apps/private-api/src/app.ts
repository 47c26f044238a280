import { randomBytes, randomUUID } from 'node:crypto';
import type { FastifyInstance } from 'fastify';
import { createZipGate } from '@inference-server/archive';
import { createStagingSpace, openBlobStore } from '@inference-server/blob-store';
import { allRoutes, openApiDocument } from '@inference-server/contracts';
import {
  closeHttpServer,
  createHttpServer,
  createRefusalTally,
  keepUploadPace,
  readPolicy,
  refuseOtherMethods,
  serveDocs,
  tallyRefusals,
  type Logger,
  type RunningApp,
} from '@inference-server/service-kit';
import { createTicketSender } from '@inference-server/task-queue';
import type { Config } from './config.js';
import { listenToChanges } from './database/changes.js';
import { openDatabase } from './database/database.js';
import { createInstallation } from './database/installation.js';
import { createLeadership, leaderMs } from './database/leader.js';
import { startDispatcher } from './dispatcher/dispatcher.js';
import { createReplicaPlanner } from './dispatcher/replica-planner.js';
import { createReplicaPlanRepository } from './dispatcher/replica-repository.js';
import { createDispatcherRepository } from './dispatcher/repository.js';
import { refusedOf, requireTokens } from './http/authorization.js';
import { letFirstIn } from './first-access.js';
import { acceptZipUploads } from './http/zip-upload.js';
import { createAttemptRepository } from './modules/attempts/repository.js';
import { mountAttemptRoutes } from './modules/attempts/routes.js';
import { createAttemptService } from './modules/attempts/service.js';
import { createAuditRepository } from './modules/audit/repository.js';
import { mountAuditRoutes } from './modules/audit/routes.js';
import { createBlobRepository } from './modules/blobs/repository.js';
import { createBlobService } from './modules/blobs/service.js';
import { tellOfBlobsUnderWay, toldOfEveryMs } from './modules/blobs/under-way.js';
import { createCallerService } from './modules/callers/service.js';
import { createLogIn } from './modules/callers/login.js';
import { createLoginFailures } from './modules/callers/login-failures.js';
import { createLoginPlaces } from './modules/callers/login-places.js';
import { mountCallerRoutes } from './modules/callers/routes.js';
import { createConsumerRepository } from './modules/consumers/repository.js';
import { mountConsumerRoutes } from './modules/consumers/routes.js';
import { createConsumerService } from './modules/consumers/service.js';
import { createKeyRepository } from './modules/keys/repository.js';
import { mountKeyRoutes } from './modules/keys/routes.js';
import { createKeyService } from './modules/keys/service.js';
import { createInvocationContents } from './modules/invocations/contents.js';
import { mountInvocationRoutes } from './modules/invocations/routes.js';
import { createInvocationService } from './modules/invocations/service.js';
import { openInvocationStore } from './modules/invocations/stores/open-invocation-store.js';
import { createModelRepository } from './modules/models/repository.js';
import { mountModelRoutes } from './modules/models/routes.js';
import { createModelService } from './modules/models/service.js';
import { createModelSources } from './modules/models/sources/model-sources.js';
import { watchEviction } from './modules/operations/eviction-watch.js';
import { mountOperationsRoutes } from './modules/operations/routes.js';
import { createOperationsService } from './modules/operations/service.js';
import { createQuotas } from './modules/quotas/quotas.js';
import { createReplicaRepository } from './modules/replicas/repository.js';
import { mountReplicaRoutes } from './modules/replicas/routes.js';
import { createReplicaService } from './modules/replicas/service.js';
import { createTaskRepository } from './modules/tasks/repository.js';
import { mountTaskRoutes } from './modules/tasks/routes.js';
import { createTaskService } from './modules/tasks/service.js';
import { createWaitingLimits } from './modules/tasks/waiting-limits.js';
import { createUserRepository } from './modules/users/repository.js';
import { mountUserRoutes } from './modules/users/routes.js';
import { createUserService } from './modules/users/service.js';
import { startRetention } from './retention/retention.js';
import { createSweeps } from './retention/sweeps.js';

export const privateApiDocument = openApiDocument(allRoutes, {
  title: 'InferenceServer private API',
  description:
    'What public-api, job consumers and operators call. Every route wants a token, but those of the operations.',
  version: '1',
});

/** Everything of private-api, put together from its settings: listening when it resolves. */
export async function startPrivateApi(
  config: Config,
  logger: Logger,
): Promise<RunningApp & { http: FastifyInstance }> {
  const leaseMs = Math.round(config.LEASE_S * 1000);
  const heartbeatIntervalMs = config.HEARTBEAT_S * 1000;
  const heartbeatTimeoutMs = heartbeatIntervalMs * 4;

  const policy = readPolicy(config.POLICY_FILE);
  const sources = createModelSources(config);
  const holder = randomUUID();
  const store = await openBlobStore(config.STORAGE_URL);
  const database = openDatabase(config.DATABASE_URL, logger);
  const invocations = openInvocationStore(config, { database, logger });
  const quotas = createQuotas(
    database,
    {
      storedBytes: config.MAX_STORED_BYTES_PER_OWNER,
      gpuSPerDay: config.MAX_DAILY_GPU_S_PER_OWNER,
    },
    (owner) => invocations.bytesOf(owner),
  );
  const changes = listenToChanges(config.DATABASE_URL, logger);
  const tickets = createTicketSender({
    redisUrl: config.REDIS_URL,
    prefix: config.QUEUE_PREFIX,
    logger,
  });

  const models = createModelRepository(database);
  const consumers = createConsumerRepository(database, {
    heartbeatTimeoutMs,
    goneAfterMs: config.CONSUMER_GONE_AFTER_S * 1000,
    parkMs: config.PARK_S * 1000,
  });
  const attempts = createAttemptRepository(database, {
    leaseMs,
    parkMs: config.PARK_S * 1000,
    maxAttempts: config.MAX_ATTEMPTS,
    logger,
  });
  const audit = createAuditRepository(database);
  const keys = createKeyRepository(database);
  const users = createUserRepository(database);
  const places = createLoginPlaces(database);
  const passwordCost = config.PASSWORD_HASH_COST;
  const userService = createUserService({ users, passwordCost });
  const gate = createZipGate({ threads: config.GATE_THREADS });
  const blobRows = createBlobRepository(database);
  const underWay = tellOfBlobsUnderWay({
    rows: blobRows,
    everyMs: toldOfEveryMs(config.ABANDONED_AFTER_S),
    logger,
  });
  const blobs = createBlobService({
    store,
    gate,
    rows: blobRows,
    underWay,
    limits: {
      maxUploadBytes: config.MAX_UPLOAD_BYTES,
      zip: {
        maxUnzippedBytes: config.MAX_UNZIPPED_BYTES,
        maxEntries: config.MAX_ZIP_ENTRIES,
        maxRatio: config.MAX_ZIP_RATIO,
      },
    },
    newId: randomUUID,
    logger,
  });
  // Who could not ask for as long as a lease lasts leads no more: it must not end leases at once.
  const leadsForMs = Math.min(leaderMs, Math.max(2_000, leaseMs / 2));
  const leadership = createLeadership(database, 'dispatcher', holder, logger, leadsForMs);
  const ofReplicas = { leaseMs, maxCallS: config.MAX_CALL_S };
  const dispatcher = startDispatcher({
    rows: createDispatcherRepository(database, {
      heartbeatTimeoutMs,
      resendAfterMs: heartbeatIntervalMs,
      goneAfterMs: config.CONSUMER_GONE_AFTER_S * 1000,
    }),
    consumers,
    attempts,
    blobs,
    tickets,
    changes,
    replicas: createReplicaPlanner({
      rows: createReplicaPlanRepository(database, ofReplicas),
      leader: leadership.row,
      newId: randomUUID,
      logger,
    }),
    leadership,
    // A leader that ticks asks again in time.
    timings: { tickMs: Math.min(1_000, leadsForMs / 4), leaseGraceMs: leaseMs },
    logger,
  });

  const installation = createInstallation(database, () => randomBytes(16).toString('hex'));
  const leaderships = {
    rows: createLeadership(database, 'retention', holder, logger),
    files: createLeadership(database, 'retention-files', holder, logger),
  };
  const retention = startRetention({
    sweeps: createSweeps({
      database,
      store,
      invocations,
      installation,
      settings: config,
      logger,
      leader: leaderships.rows.row,
    }),
    leaderships,
    logger,
  });
  const eviction = watchEviction({ tickets, logger });

  const http = createHttpServer({ logger });
  requireTokens(http, config.PRIVATE_API_TOKEN);
  const refusals = createRefusalTally({ tell: (those) => audit.writeRefusals(those), logger });
  tallyRefusals(http, refusals, refusedOf);
  refuseOtherMethods(http, allRoutes);
  keepUploadPace(http, {
    minBytes: config.MIN_UPLOAD_BYTES_PER_WINDOW,
    windowMs: config.UPLOAD_WINDOW_S * 1000,
  });
  const space = createStagingSpace({
    folder: store.stagingFolder,
    minFreeBytes: config.MIN_FREE_BYTES,
  });
  await acceptZipUploads(http, {
    maxBytes: config.MAX_UPLOAD_BYTES,
    space,
    outputMinFreeBytes: config.MIN_FREE_BYTES / 10,
  });
  await serveDocs(http, privateApiDocument);
  mountOperationsRoutes(
    http,
    createOperationsService({
      needed: {
        postgres: async () => void (await database.query('SELECT 1')),
        blob_store: (signal) => blobs.check(signal),
      },
      awaited: {
        redis: () => tickets.check(),
        redis_eviction: () => eviction.check(),
        consumers: async () => {
          if ((await consumers.countReady()) === 0) throw new Error('none');
        },
      },
      timeoutMs: 2_000,
      rememberMs: 1_000,
    }),
  );
  mountModelRoutes(
    http,
    createModelService({
      models,
      consumers,
      blobs,
      sources,
      space,
      quotas,
      newVersionId: randomUUID,
      installation,
      policy,
      limits: {
        runTimeoutS: config.MAX_RUN_TIMEOUT_S,
        gpuCount: config.MAX_GPU_COUNT,
        gpuMemoryMib: config.MAX_GPU_MEMORY_MIB,
        cpus: config.MAX_CPUS,
        memoryMib: config.MAX_MEMORY_MIB,
        shmMib: config.MAX_SHM_MIB,
        retentionS: config.OUTPUT_RETENTION_S,
        inputRetentionS: config.INPUT_RETENTION_S,
        logRetentionS: config.LOG_RETENTION_S,
        replicas: config.MAX_REPLICAS,
        minReplicas: config.MAX_MIN_REPLICAS,
        fetchedBytes: config.MAX_UPLOAD_BYTES,
      },
      logger,
    }),
  );
  mountAuditRoutes(http, audit);
  mountKeyRoutes(http, createKeyService({ keys }));
  mountUserRoutes(http, userService);
  mountCallerRoutes(
    http,
    createCallerService({
      keys,
      users,
      models,
      clock: database,
      logIn: createLogIn({
        users,
        audit,
        refusals,
        failures: createLoginFailures(database, places, {
          secret: config.PRIVATE_API_TOKEN,
          freeOfAddress: config.MAX_WRONG_PASSWORDS_PER_ADDRESS,
        }),
        places,
        passwordCost,
      }),
      audit,
      secret: config.PRIVATE_API_TOKEN,
      logger,
    }),
  );
  mountTaskRoutes(
    http,
    createTaskService({
      tasks: createTaskRepository(
        database,
        createWaitingLimits(database, {
          total: config.MAX_WAITING_TASKS,
          perOwner: config.MAX_WAITING_TASKS_PER_OWNER,
        }),
        quotas,
      ),
      models,
      blobs,
      changes: changes.tasks,
      newTaskUid: () => randomBytes(32).toString('base64url'),
      logger,
    }),
  );
  mountInvocationRoutes(
    http,
    createInvocationService({
      store: invocations,
      contents: createInvocationContents(database),
      ...{ blobs, models, quotas, space, logger },
    }),
  );
  mountConsumerRoutes(
    http,
    createConsumerService({
      consumers,
      attempts,
      heartbeatIntervalMs,
      installation,
      policy,
      logger,
      onNews: () => dispatcher.wake(),
    }),
  );
  mountAttemptRoutes(
    http,
    createAttemptService({
      attempts,
      blobs,
      changes: changes.tasks,
      leaseMs,
      parkMs: config.PARK_S * 1000,
      runTime: { usualS: config.RUN_TIMEOUT_S, longestS: config.MAX_RUN_TIMEOUT_S },
      logger,
    }),
  );
  mountReplicaRoutes(
    http,
    createReplicaService({
      replicas: createReplicaRepository(database, ofReplicas),
      consumers,
      models,
      blobs,
      changes: changes.replicas,
      leaseMs,
      logger,
    }),
  );

  const close = async (): Promise<void> => {
    changes.letGo();
    await Promise.all([
      closeHttpServer(http, servingMs(config.STOP_GRACE_S * 1000)),
      eviction.close(),
      retention.close(),
      dispatcher.close(),
    ]);
    await refusals.close();
    await gate.close();
    await underWay.close();
    await changes.close();
    await tickets.close();
    invocations.close();
    await database.close();
  };
  try {
    await letFirstIn({ keys, users, userService, settings: config, logger });
    await http.listen({ host: config.HOST, port: config.PORT });
  } catch (error) {
    await close();
    throw error;
  }
  return { http, close };
}

/** How long requests may go on; what is left of the grace is for removing what was cut of them. */
function servingMs(graceMs: number): number {
  return Math.max(graceMs / 2, graceMs - 4_000);
}
