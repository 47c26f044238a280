import Type, { type Static } from 'typebox';
import Value from 'typebox/value';
import { HumanReadableId } from './names.js';
import { maxStoredInteger, minStoredInteger, storedNumberPattern } from './stored-integer.js';

/** How long the content of an invocation may be, and what stands beside it (bytes). */
export const maxInvocationContentBytes = 64 * 1024 ** 2;
export const maxInvocationHeadBytes = 1024 ** 2;
/** A longer content is stored as a blob. */
export const inlineContentBytes = 1024 ** 2;

/** Of a body that is a head and content, see {@link frameInvocation}. */
export const headedType = 'application/vnd.inference-server.headed';

/** In an address: an int32 in digits, as in `17` and `-3`. */
export const InvocationIdText = Type.String({
  pattern: `^(?:0|-?(?:${storedNumberPattern})|-2147483648)$`,
  description: 'The id of the input, a 32-bit integer.',
});

const Id = Type.Integer({ minimum: minStoredInteger, maximum: maxStoredInteger });
const Metadata = Type.Array(
  Type.Object({ key: Type.String(), value: Type.String() }, { additionalProperties: false }),
);

/** What a gateway tells of an invocation beside its content. */
export const InvocationHead = Type.Object(
  {
    id: Id,
    metadata: Metadata,
    output_metadata: Metadata,
    human_readable_id: Type.Optional(
      Type.String({
        ...HumanReadableId,
        description: 'The model that answered: it may say that outputs are kept for less time.',
      }),
    ),
  },
  { additionalProperties: false },
);
export type InvocationHead = Static<typeof InvocationHead>;

/** What was asked with an id, and what the model said of it. */
export const Invocation = Type.Object({
  model_input: Type.Object({
    id: Id,
    content: Type.String({ description: 'As it was sent.' }),
    metadata: Metadata,
  }),
  model_output: Type.Object({ id: Id, metadata: Metadata }),
});
export type Invocation = Static<typeof Invocation>;

/** The body up to its content: the length of the head (4 bytes, the highest first), the head as JSON. */
export function frameInvocation(head: InvocationHead): Uint8Array {
  const json = new TextEncoder().encode(JSON.stringify(head));
  const framed = new Uint8Array(4 + json.length);
  new DataView(framed.buffer).setUint32(0, json.length);
  framed.set(json, 4);
  return framed;
}

/** The head of its JSON; undefined when it is none. */
export function readInvocationHead(json: Uint8Array): InvocationHead | undefined {
  try {
    const head: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(json));
    return Value.Check(InvocationHead, head) ? head : undefined;
  } catch {
    return undefined;
  }
}
