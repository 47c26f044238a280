import {
  frameInvocation,
  headedType,
  type Invocation,
  type InvocationHead,
} from '@inference-server/contracts';
import { publicApiToken, rpcGatewayToken } from '@inference-server/service-kit';
import { actingFor } from './running-private-api.js';

/** A private-api, in this process or not. */
export interface InvocationPlace {
  base: string;
  operatorToken: string;
}

export const headOf = (id: number, more: Partial<InvocationHead> = {}): InvocationHead => ({
  ...{ id, metadata: [], output_metadata: [] },
  ...more,
});

/** As the gateway stores it. */
export function storeInvocation(
  { base, operatorToken }: InvocationPlace,
  owner: string,
  head: InvocationHead | Uint8Array,
  content: Uint8Array | string,
): Promise<Response> {
  const frame = head instanceof Uint8Array ? head : frameInvocation(head);
  return fetch(`${base}/internal/invocations`, {
    method: 'POST',
    headers: {
      authorization: `Bearer ${rpcGatewayToken(operatorToken)}`,
      ...{ 'content-type': headedType, ...actingFor(owner) },
    },
    body: Buffer.concat([frame, Buffer.from(content)]),
    signal: AbortSignal.timeout(20_000),
  });
}

/** As public-api asks for it. */
export function getInvocation(
  { base, operatorToken }: InvocationPlace,
  owner: string,
  id: number | string,
  method = 'GET',
): Promise<Response> {
  return fetch(`${base}/invocation/${id}`, {
    method,
    headers: { authorization: `Bearer ${publicApiToken(operatorToken)}`, ...actingFor(owner) },
    signal: AbortSignal.timeout(20_000),
  });
}

/** Undefined: there is none. */
export async function contentOfInvocation(
  place: InvocationPlace,
  owner: string,
  id: number,
): Promise<string | undefined> {
  const answer = await getInvocation(place, owner, id);
  if (answer.status === 404) return undefined;
  return ((await answer.json()) as Invocation).model_input.content;
}
