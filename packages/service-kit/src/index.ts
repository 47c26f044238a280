export { ConfigError, loadConfig, withoutSecrets } from './config.js';
export { ChosenSecret, GivenSecret, Secret, SecretUrl, weaknessOf } from './secret.js';
export { guessesLog10 } from './guesses.js';
export {
  createCallerDirectory,
  knownForMs,
  type CallerDirectory,
} from './callers/caller-directory.js';
export { createRefusalLimit, type RefusalLimit } from './callers/refusal-limit.js';
export { createRevocationWatch, type RevocationWatch } from './callers/revocation-watch.js';
export { configOrExit } from './config-or-exit.js';
export { closeHttpServer } from './http/closing.js';
export { serveDocs } from './http/docs.js';
export { notStored, securityHeaders } from './http/security-headers.js';
export {
  armCrashPoints,
  CrashAt,
  crashPoint,
  crashPoints,
  taskCrashPoints,
  type CrashPoint,
} from './crash-points.js';
export { cutWhenStalled } from './http/cut-when-stalled.js';
export { createHttpServer } from './http/http-server.js';
export { refuseOtherMethods } from './http/methods.js';
export { abortedByClient, mountRoute, type RouteRequest } from './http/mount-route.js';
export { problemOf, problemType, sendError } from './http/problem-reply.js';
export { callerAddress } from './http/caller-address.js';
export {
  createRefusalTally,
  logInOperation,
  stranger,
  tallyRefusals,
  type RefusalTally,
} from './http/refusal-tally.js';
export { rateLimitHeaders } from './http/rate-limit-headers.js';
export { carriesBody, discardBody } from './http/request-body.js';
export { keepUploadPace, type UploadPace } from './http/upload-pace.js';
export { sendBlob, type SendableBlob } from './http/send-blob.js';
export { isLoopbackAddress, networkOf } from './addresses.js';
export { createAddressReader, trustOf, type AddressReader } from './forwarded-address.js';
export {
  consumerNameOf,
  consumerToken,
  newOperatorToken,
  partToken,
  publicApiToken,
  relayToken,
  rpcGatewayToken,
  verifyToken,
  type Principal,
} from './internal-tokens.js';
export { joinSignals, type JoinedSignal } from './join-signals.js';
export { LogFileSettings, logFilesOf, type LogFiles } from './log-files.js';
export { createLogger, logLevels, type Logger } from './logger.js';
export { readPolicy } from './policy-file.js';
export { runUntilStopped, type RunningApp } from './run-until-stopped.js';
export { nothing, type Amount, type Sweep } from './sweeps/sweep.js';
export { runSweepCommand } from './sweeps/sweep-command.js';
