import Type, { type Static } from 'typebox';
import Value from 'typebox/value';
import { RoleName } from './roles.js';

/**
 * The header of private-api in which public-api and rpc-gateway say whom they act for, as JSON in ASCII.
 * They must; from anybody else it is refused, and a caller's own is never passed on.
 */
export const callerHeader = 'inference-caller';

const Word = Type.String({ pattern: '^[\\x20-\\x7e]{1,200}$' });

/** Who calls from outside, as the process at the door has found out. */
export const CallerIdentity = Type.Object(
  {
    /** Whose the tasks and models are: `key:<id>`, `user:<name>`, `anonymous`. */
    owner: Word,
    role: RoleName,
    /** What was shown for it, which the audit names: `key:<id>`, `user:<name>`, `anonymous`. */
    credential: Word,
    /** The network address of the caller. */
    address: Word,
  },
  { additionalProperties: false },
);
export type CallerIdentity = Static<typeof CallerIdentity>;

/** The owner, and the credential, of a caller who shows nothing. */
export const anonymousOwner = 'anonymous';

export function writeCaller(caller: CallerIdentity): string {
  return JSON.stringify(caller);
}

/** Undefined when the text is none. */
export function readCaller(text: string): CallerIdentity | undefined {
  try {
    const caller: unknown = JSON.parse(text);
    return Value.Check(CallerIdentity, caller) ? caller : undefined;
  } catch {
    return undefined;
  }
}
