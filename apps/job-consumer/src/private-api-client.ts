import type { Readable } from 'node:stream';
import { Agent } from 'undici';
import {
  replicaNewsHeldS,
  routes,
  type AdoptAnswer,
  type AttemptResult,
  type BlobReference,
  type ClaimAnswer,
  type ConsumerRegistered,
  type ConsumerRegistration,
  type GoneConsumers,
  type HeldAttempts,
  type ParkAnswer,
  type ReplicaOrders,
  type ReplicaReport,
  type RenewAnswer,
  type SettleAnswer,
  type UnusedModelVersions,
} from '@inference-server/contracts';
import { callJson, openZip, sendZip, type PrivateApiAddress } from './private-api-call.js';

/** An attempt, and the lease under which the caller acts for it. */
export interface HeldAttempt {
  taskUid: string;
  attempt: number;
  epoch: number;
  holder: string;
}

/**
 * The consumer's side of the private contract. Every call throws PrivateApiError: SERVICE_UNAVAILABLE when
 * private-api does not answer, its own error when it refuses; or the signal's reason. None is
 * repeated here; all but the transfers may be, as they are idempotent.
 */
export interface PrivateApiClient {
  register(registration: ConsumerRegistration, signal: AbortSignal): Promise<ConsumerRegistered>;
  signOff(holder: string, signal: AbortSignal): Promise<void>;
  /** Those of the model versions that nothing needs any more. */
  unusedModelVersions(
    versionIds: readonly string[],
    signal: AbortSignal,
  ): Promise<UnusedModelVersions>;
  /** Those of the consumers that are gone for good, and those that nobody knows. */
  goneConsumers(consumerIds: readonly string[], signal: AbortSignal): Promise<GoneConsumers>;
  claim(
    ticket: { taskUid: string; attempt: number },
    holder: string,
    signal: AbortSignal,
  ): Promise<ClaimAnswer>;
  /** The attempts that processes of this consumer hold. */
  heldAttempts(signal: AbortSignal): Promise<HeldAttempts>;
  adopt(
    attempt: { taskUid: string; attempt: number },
    holder: string,
    signal: AbortSignal,
  ): Promise<AdoptAnswer>;
  /** Held open by the server, see `renewHeldMs`. */
  renew(
    held: HeldAttempt,
    how: { knowsOfCancel: boolean; peakMib: number | undefined; answerWithinMs: number },
    signal: AbortSignal,
  ): Promise<RenewAnswer>;
  park(held: HeldAttempt, signal: AbortSignal): Promise<ParkAnswer>;
  openInput(held: HeldAttempt, signal: AbortSignal): Promise<Readable>;
  openModelFiles(held: HeldAttempt, signal: AbortSignal): Promise<Readable>;
  /** Takes the zip to its end, or destroys it. */
  putOutput(held: HeldAttempt, zip: Readable, signal: AbortSignal): Promise<BlobReference>;
  settle(held: HeldAttempt, result: AttemptResult, signal: AbortSignal): Promise<SettleAnswer>;
  /** Held open by the server until there is something new for the revision that it names. */
  reportReplicas(report: ReplicaReport, signal: AbortSignal): Promise<ReplicaOrders>;
  openReplicaModelFiles(replicaId: string, holder: string, signal: AbortSignal): Promise<Readable>;
  close(): Promise<void>;
}

export function createPrivateApiClient(options: {
  /** Without a path. */
  url: string;
  token: string;
  consumerId: string;
}): PrivateApiClient {
  const dispatcher = openAgent();
  const address: PrivateApiAddress = { ...options, dispatcher };
  // Of their own: none comes over a connection that was kept from a call to a process that is silent now.
  const renewals = openAgent();
  const consumer = { consumer_id: options.consumerId };
  const paramsOf = ({ taskUid, attempt }: { taskUid: string; attempt: number }) => ({
    task_uid: taskUid,
    attempt,
  });
  const leaseOf = ({ epoch, holder }: HeldAttempt) => ({ epoch, holder });

  return {
    register: (registration, signal) =>
      callJson(
        address,
        routes.registerConsumer,
        { params: consumer, body: registration },
        { signal, timeoutMs },
      ),
    async signOff(holder, signal) {
      const input = { params: consumer, query: { holder } };
      await callJson(address, routes.signOffConsumer, input, { signal, timeoutMs });
    },
    unusedModelVersions: (versionIds, signal) =>
      callJson(
        address,
        routes.findUnusedModelVersions,
        { params: consumer, body: { model_version_ids: [...versionIds] } },
        { signal, timeoutMs },
      ),
    goneConsumers: (consumerIds, signal) =>
      callJson(
        address,
        routes.findGoneConsumers,
        { params: consumer, body: { consumer_ids: [...consumerIds] } },
        { signal, timeoutMs },
      ),
    claim: (ticket, holder, signal) =>
      callJson(
        address,
        routes.claimAttempt,
        { params: paramsOf(ticket), body: { holder } },
        { signal, timeoutMs },
      ),
    heldAttempts: (signal) =>
      callJson(address, routes.listHeldAttempts, { params: consumer }, { signal, timeoutMs }),
    adopt: (attempt, holder, signal) =>
      callJson(
        address,
        routes.adoptAttempt,
        { params: paramsOf(attempt), body: { holder } },
        { signal, timeoutMs },
      ),
    park: (held, signal) =>
      callJson(
        address,
        routes.parkLease,
        { params: paramsOf(held), body: leaseOf(held) },
        { signal, timeoutMs },
      ),
    renew: (held, { knowsOfCancel, peakMib, answerWithinMs }, signal) =>
      callJson(
        { ...address, dispatcher: renewals },
        routes.renewLease,
        {
          params: paramsOf(held),
          body: {
            ...leaseOf(held),
            knows_of_cancel: knowsOfCancel,
            ...(peakMib !== undefined && { gpu_memory_peak_mib: peakMib }),
          },
        },
        { signal, timeoutMs: answerWithinMs },
      ),
    openInput: (held, signal) =>
      openZip(
        address,
        routes.getAttemptInput,
        { params: paramsOf(held), query: leaseOf(held) },
        signal,
      ),
    openModelFiles: (held, signal) =>
      openZip(
        address,
        routes.getAttemptModelFiles,
        { params: paramsOf(held), query: leaseOf(held) },
        signal,
      ),
    putOutput: (held, zip, signal) =>
      sendZip(
        address,
        routes.putAttemptOutput,
        { params: paramsOf(held), query: leaseOf(held) },
        zip,
        signal,
      ),
    settle: (held, result, signal) =>
      callJson(
        address,
        routes.settleAttempt,
        { params: paramsOf(held), body: { lease: leaseOf(held), result } },
        { signal, timeoutMs },
      ),
    reportReplicas: (report, signal) =>
      callJson(
        { ...address, dispatcher: renewals },
        routes.reportReplicas,
        { params: consumer, body: report },
        { signal, timeoutMs: replicaNewsHeldS * 1000 + timeoutMs },
      ),
    openReplicaModelFiles: (replicaId, holder, signal) =>
      openZip(
        address,
        routes.getReplicaModelFiles,
        { params: { ...consumer, replica_id: replicaId }, query: { holder } },
        signal,
      ),
    async close() {
      await Promise.all([dispatcher.destroy(), renewals.destroy()]);
    },
  };
}

function openAgent(): Agent {
  return new Agent({ connect: { timeout: 5_000 }, keepAliveTimeout: 10_000 });
}

/** For an answer that is not held back on purpose. */
const timeoutMs = 10_000;
