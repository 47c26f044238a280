import Type, { type Static } from 'typebox';

const CheckState = Type.Union([Type.Literal('up'), Type.Literal('down')]);

/** `degraded`: posts are accepted and wait for the part that is down. */
export const Readiness = Type.Object(
  {
    status: Type.Union([Type.Literal('ready'), Type.Literal('degraded'), Type.Literal('down')]),
    checks: Type.Record(Type.String(), CheckState),
  },
  { $id: 'Readiness' },
);
export type Readiness = Static<typeof Readiness>;

export const Liveness = Type.Object({ status: Type.Literal('up') });
export type Liveness = Static<typeof Liveness>;

export const Greeting = Type.Object({
  message: Type.String({ description: 'Holds "Hello world" and, once everything is up, "ready".' }),
});
export type Greeting = Static<typeof Greeting>;

/** Clients look for the word "ready": it stands in no other message. */
export function greetingOf(status: Readiness['status']): Greeting {
  return {
    message:
      status === 'ready'
        ? 'Hello world from InferenceServer: everything is up and ready.'
        : 'Hello world from InferenceServer: some of its parts are not up yet.',
  };
}
